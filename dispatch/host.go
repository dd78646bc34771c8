package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// throughHost copies the steps by reading the source and writing the
// destination through the top of their stacks.
func (r *run) throughHost(ctx context.Context, steps []Step) error {
	if len(steps) == 0 {
		return nil
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	todo := slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s.Method == MethodSkip })
	trying, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	result, err := r.engine.Copy(trying, r.job.Src.Device, r.job.Dst.Device, ops(todo), emulation.Observer{
		Progress: func(n int64) {
			r.counters.host.Add(n)
			r.tell()
		},
		Failure: func(f emulation.Failure) {
			if !r.bearable(f) { // nor is there any use in what comes after it
				stop(errUnbearable)
			}
		},
	})
	if errors.Is(err, errUnbearable) {
		err = nil // the failure says it all
	}
	c := &r.counters
	c.host.Add(-result.Zeroed - result.Skipped)
	c.zeroed.Add(result.Zeroed)
	c.skipped.Add(result.Skipped)
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx)
	case err != nil:
		return wrap("copy", errors.Join(err, lost(result.Failures), r.meanwhile(ctx)))
	case len(result.Failures) > 0:
		if err := r.giveUp(ctx, result.Failures); err != nil {
			return wrap("copy", err)
		}
	}
	for _, s := range steps {
		r.tally.add(s.Method, s.Reason, s.Len)
		if s.Method == MethodSkip {
			c.skipped.Add(s.Len)
		}
	}
	r.tell()
	return nil
}

// errUnbearable ends a batch whose failure ends the copy.
var errUnbearable = errors.New("a failure that ends the copy")

// meanwhile tells what became of the devices, to explain why I/O failed: a disk
// that was unplugged says no more than that it ends early.
func (r *run) meanwhile(ctx context.Context) error {
	if r.plan.stack == nil {
		return nil
	}
	changed, err := r.plan.changes(ctx)
	r.miss(changed)
	moved := remap.Moved(changed)
	switch gone := r.missed(); {
	case gone != nil:
		return gone
	case err == nil && len(moved) > 0:
		return fmt.Errorf("meanwhile: %v", moved)
	}
	return err
}

// ops joins neighbouring steps into operations as long as possible: reasons
// end where the layout does, but the host reads and writes through the top.
func ops(steps []Step) iter.Seq[emulation.Op] {
	return func(yield func(emulation.Op) bool) {
		var op emulation.Op
		for _, s := range steps {
			next := emulation.Op{Src: s.SrcOff, Dst: s.DstOff, Len: s.Len, Zero: s.Method == MethodZero}
			if op.Len > 0 && next.Zero == op.Zero && next.Src == op.Src+op.Len && next.Dst == op.Dst+op.Len {
				op.Len += next.Len
				continue
			}
			if op.Len > 0 && !yield(op) {
				return
			}
			op = next
		}
		if op.Len > 0 {
			yield(op)
		}
	}
}

// maxListed bounds how many failures an error names.
const maxListed = 8

// lost makes an error of what could not be copied.
func lost(failures []emulation.Failure) error {
	var errs []error
	for i, f := range failures {
		if i == maxListed {
			errs = append(errs, fmt.Errorf("and %d more", len(failures)-i))
			break
		}
		errs = append(errs, f.Err)
	}
	return errors.Join(errs...)
}

// mayCopy keeps to the policy when steps are left for the host.
func (r *run) mayCopy(steps []Step) error {
	if err := mayPass(steps); err != nil {
		return wrap("copy", err)
	}
	if r.opts.Offload != OffloadRequire {
		return nil
	}
	var bytes int64
	var why remap.Reason
	for _, s := range steps {
		if s.Method == MethodHost {
			bytes += s.Len
			why = s.Reason
		}
	}
	if bytes == 0 {
		return nil
	}
	return wrap("offload", fmt.Errorf("%w: %d bytes could not be offloaded (%s)", ErrPolicy, bytes, why))
}
