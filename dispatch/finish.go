package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// dropCaches makes what other programs wrote to any level of either stack
// visible below, and keeps the kernel from writing it back later over the copy.
func (r *run) dropCaches(ctx context.Context) error {
	return r.dropOf(ctx, PartSource)
}

// dropStale makes what was copied visible at every level: what programs have read of
// the destination before is not what is there now, and whoever writes a byte of it
// would have the kernel write a whole page.
func (r *run) dropStale(ctx context.Context) error {
	return r.dropOf(ctx, PartBelow)
}

// dropOf drops the caches of devices that have such a part in the copy, or a greater
// one. A device that is gone by now has no cache any more.
func (r *run) dropOf(ctx context.Context, least Part) error {
	for _, t := range r.touched {
		if t.part < least {
			continue
		}
		err := r.d.machine.DropCaches(ctx, t.node, t.part)
		if errors.Is(err, fs.ErrPermission) {
			return refuse(t.node.DisplayName(), "has a page cache that this process may not write back (%v)", "run as root with CAP_SYS_ADMIN: outside of the container, or give it that capability", errno(err))
		}
		if err != nil && !vanished(err) {
			return err
		}
	}
	return nil
}

// touched is a device of a plan.
type touched struct {
	node *remap.Node
	part Part
}

// touch notes the devices of a plan. What was once written below stays so.
func (r *run) touch(layout *remap.Stack) {
	for _, n := range layout.Nodes() {
		r.touched[n.Dev] = touched{n, r.touched[n.Dev].part}
	}
	if r.job.Dst.File != nil {
		return // the kernel keeps the cache of a file right
	}
	for _, n := range layout.Under(r.job.Dst.Dev) {
		part := PartBelow
		if n.Dev == r.job.Dst.Dev {
			part = PartDestination
		}
		r.touched[n.Dev] = touched{n, max(part, r.touched[n.Dev].part)}
	}
}

func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV)
}

// adopt makes p the plan to follow.
func (r *run) adopt(p *plan) {
	r.plan = p
	r.nice.watch(p.stack, r.job.Src.Dev, r.job.Dst.Dev)
	if p.layout == nil { // the kernel keeps the cache of a file right
		return
	}
	r.concern()
	if p.mixed() && p.dst.File != nil { // nothing is read or written below it
		return
	}
	r.touch(p.layout)
}

// finish makes the copy durable and visible, and checks it if asked to. No hold
// is on any more: these are reads and writes through the top. If the destination was
// moved meanwhile without what it held, that is returned, to be copied again.
func (r *run) finish(ctx context.Context) (again []Range, err error) {
	if r.opts.Verify == VerifyNone { // else the source is read once more
		if err := r.thaw(); err != nil {
			return nil, err
		}
	}
	for range maxBarren {
		r.window.reset()
		r.phase(PhaseFlushing)
		if err := r.flush(ctx); err != nil {
			return nil, wrap("flush", err)
		}
		if again, _, err := r.lookAgain(ctx); err != nil || len(again) > 0 {
			return again, err
		}
		if err := r.record(); err != nil {
			return nil, err
		}
		found := r.verify(ctx)
		if r.opts.Verify == VerifyNone || found != nil && !errors.Is(found, ErrMismatch) {
			return nil, found
		}
		again, moved, err := r.lookAgain(ctx)
		if err != nil || len(again) > 0 {
			return again, err
		}
		if !moved {
			return nil, found
		}
	}
	return nil, wrap("verify", fmt.Errorf("%w: the destination was moved each time that it was compared", ErrLayout))
}

// sampleEvery and sampleBytes are what VerifySample reads: one piece in every
// stretch of the copy.
const (
	sampleEvery = 64 << 20
	sampleBytes = 1 << 20
)

func (r *run) verify(ctx context.Context) error {
	ranges := r.readable(r.job.Ranges)
	switch r.opts.Verify {
	case VerifyNone:
		return nil
	case VerifySample:
		ranges = samples(ranges)
	}
	found, err := r.compare(ctx, ranges)
	if err == nil {
		err = lost(found.Failures)
	}
	if err != nil {
		return wrap("verify", err)
	}
	r.verified = r.opts.Verify
	if len(found.Mismatches) > 0 {
		m := found.Mismatches[0]
		return wrap("verify", fmt.Errorf("%w: byte %d of %s and byte %d of %s, the first of %d bytes",
			ErrMismatch, m.Src, r.job.Src.Name, m.Dst, r.job.Dst.Name, m.Len))
	}
	return nil
}

// samples thins the ranges out. The beginning and the end are always among
// them.
func samples(ranges []Range) []Range {
	var some []Range
	for _, r := range ranges {
		last := max(r.Len-sampleBytes, 0)
		for off := int64(0); off < last; off += sampleEvery {
			some = append(some, Range{r.Src + off, r.Dst + off, min(sampleBytes, last-off)})
		}
		some = append(some, Range{r.Src + last, r.Dst + last, r.Len - last})
	}
	return some
}

// compare compares the ranges through the top.
func (r *run) compare(ctx context.Context, ranges []Range) (emulation.Comparison, error) {
	r.comparing = length(ranges)
	r.phase(PhaseVerifying)
	var all emulation.Comparison
	for len(ranges) > 0 {
		some := first(ranges, r.pace.most(r.nice.most(math.MaxInt64)))
		bytes := length(some)
		err := r.paced(ctx, func() (int64, error) {
			found, err := r.engine.Compare(ctx, r.job.Src.Device, r.job.Dst.Device, copies(some), emulation.Observer{Progress: func(n int64) {
				r.counters.compared.Add(n)
				r.tell()
			}})
			all.Read += found.Read
			all.Failures = append(all.Failures, found.Failures...)
			all.Mismatches = append(all.Mismatches, found.Mismatches...)
			all.Truncated = all.Truncated || found.Truncated
			return bytes, err
		})
		if err != nil {
			return all, err
		}
		ranges = skip(ranges, bytes)
	}
	return all, nil
}

// copies are the operations of ranges.
func copies(ranges []Range) iter.Seq[emulation.Op] {
	return func(yield func(emulation.Op) bool) {
		for _, g := range ranges {
			if !yield(emulation.Op{Src: g.Src, Dst: g.Dst, Len: g.Len}) {
				return
			}
		}
	}
}
