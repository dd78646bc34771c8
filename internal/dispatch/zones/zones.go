package zones

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
)

// A zoned device takes writes only where the last one in the zone has ended, at its write
// pointer, and only the device knows where that is. So a copy begins at the pointers and
// goes from the front of each zone to its end; and after a command that was not carried
// out as a whole, the pointer tells how far it came.
//
// Kernels from 6.10 on keep a write pointer of their own for each zone that they are
// writing to (block/blk-zoned.c), which the commands of programs pass by. They make one at
// the first write to a zone and take that for the pointer, so that the host can go on where
// a device has stopped, but not the other way round.

// ErrZone: a zone of the destination is not written as it has to be.
var ErrZone = errors.New("the zone does not hold what was copied to it: reset it and copy it again")

// InOrder is how the host copies to zones. Transfers are small enough to be one request
// each.
var InOrder = emulation.Options{QueueDepth: 1, BlockSize: 128 << 10, Ordered: true}

// Sequential is a device that is written in order. Its zeroes are written like everything
// else: what becomes of the pointer when the command for zeroes fails is another question for
// each device. After a write that has failed it takes no other one: there are disks (QEMU's)
// whose pointer then is not where they say, and which would leave a hole.
type Sequential struct {
	emulation.Device
	failed atomic.Pointer[error]
}

// Zero implements [emulation.Device].
func (*Sequential) Zero(int64, int64) error { return errors.ErrUnsupported }

// WriteAt implements [emulation.Device].
func (s *Sequential) WriteAt(p []byte, off int64) (int, error) {
	if err := s.failed.Load(); err != nil {
		return 0, *err
	}
	n, err := s.Device.WriteAt(p, off)
	if err != nil {
		s.failed.Store(&err)
	}
	return n, err
}

// Zones is what a copy knows of the zones of its destination; without zones, all of it does
// nothing.
type Zones struct {
	name  string
	zoner ends.ZoneReporter
	host  *hostcopy.Host
	// byHost are the zones, by their start, that the host has begun or is to go on with.
	byHost map[int64]bool
	// known are the zones of all ranges, in order.
	known   []blockio.Zone
	account *account.Account
	log     *slog.Logger
}

// New is for a destination, with or without zones.
func New(dst ends.Endpoint, host *hostcopy.Host, counts *account.Account, log *slog.Logger) *Zones {
	return &Zones{name: dst.Name, zoner: dst.Zones, host: host, byHost: make(map[int64]bool), account: counts, log: log}
}

// Any tells whether the destination has zones.
func (z *Zones) Any() bool { return z.zoner != nil }

// Refuse refuses ranges that the zones of the destination do not take. In the order in which
// they are copied, each has to begin at a write pointer and to end within the capacity.
func (z *Zones) Refuse(ranges []byterange.Range) error {
	if z.zoner == nil {
		return nil
	}
	pointer := make(map[int64]int64)
	for _, r := range ranges {
		found, err := z.zoner.Zones(r.Dst, r.Len)
		if err != nil {
			return failure.During("zones", err)
		}
		for _, zone := range found {
			if !zone.Sequential {
				continue
			}
			if err := z.refuseZone(zone, r, pointer); err != nil {
				return err
			}
		}
		z.known = append(z.known, found...)
	}
	slices.SortFunc(z.known, func(a, b blockio.Zone) int { return cmp.Compare(a.Start, b.Start) })
	z.known = slices.CompactFunc(z.known, func(a, b blockio.Zone) bool { return a.Start == b.Start })
	return nil
}

func (z *Zones) refuseZone(zone blockio.Zone, r byterange.Range, pointer map[int64]int64) error {
	if _, known := pointer[zone.Start]; !known {
		pointer[zone.Start] = zone.Pointer
		// The kernel may know the pointer of a zone that was begun.
		z.byHost[zone.Start] = zone.Pointer > zone.Start
	}
	from, to := max(r.Dst, zone.Start), min(r.Dst+r.Len, zone.Start+zone.Len)
	switch end := zone.Start + zone.Capacity; {
	case !zone.Writable:
		return failure.Refuse(z.name, "cannot be written in the zone at byte %d", "reset the zone (blkzone reset), or choose another range", zone.Start)
	case from != pointer[zone.Start]:
		return failure.Refuse(z.name, "is to be written from byte %d on, but its zone there takes nothing except at byte %d",
			"begin there, or reset the zone (blkzone reset), which destroys what it holds", from, pointer[zone.Start])
	case to > end:
		return failure.Refuse(z.name, "ends at byte %d in the zone at byte %d: there is nothing up to the next zone, at byte %d",
			"copy zone by zone with --range", end, zone.Start, zone.Start+zone.Len)
	}
	pointer[zone.Start] = to
	return nil
}

// Passed cuts off of the ranges of a copy that goes on what its earlier runs have written
// without having noted it: it lies below the write pointers, and is equal to the source.
func (z *Zones) Passed(ctx context.Context, ranges []byterange.Range) (left, there []byterange.Range, err error) {
	if z.zoner == nil {
		return ranges, nil, nil
	}
	for _, g := range ranges {
		found, err := z.zoner.Zones(g.Dst, g.Len)
		if err != nil {
			return nil, nil, failure.During("zones", err)
		}
		for _, zone := range found {
			n := min(g.Len, zone.Start+zone.Len-g.Dst)
			below := int64(0)
			if zone.Sequential {
				below = min(max(zone.Pointer-g.Dst, 0), n)
			}
			there = byterange.Append(there, g.Part(0, below))
			left = byterange.Append(left, g.Part(below, n))
			g = g.Part(n, g.Len)
		}
	}
	found, err := z.host.CompareRanges(ctx, there, emulation.Observer{})
	if err == nil {
		err = hostcopy.Lost(found.Failures)
	}
	if err != nil {
		return nil, nil, failure.During("zones", err)
	}
	if len(found.Mismatches) > 0 {
		return nil, nil, failure.Refuse(z.name, "holds something else at byte %d, below a write pointer",
			"reset the zone (blkzone reset), which destroys what it holds, or choose another range", found.Mismatches[0].Dst)
	}
	return left, there, z.Refuse(left)
}

// parts cuts a step at the boundaries of zones.
func (z *Zones) parts(s plan.Step) iter.Seq2[blockio.Zone, plan.Step] {
	return func(yield func(blockio.Zone, plan.Step) bool) {
		i, _ := slices.BinarySearchFunc(z.known, s.DstOff, func(zone blockio.Zone, off int64) int {
			return cmp.Compare(zone.Start+zone.Len, off+1)
		})
		for ; i < len(z.known) && s.Len > 0; i++ {
			n := min(s.Len, z.known[i].Start+z.known[i].Len-s.DstOff)
			if !yield(z.known[i], s.Part(0, n)) {
				return
			}
			s = s.Part(n, s.Len-n)
		}
	}
}

// Order makes steps that the host has to carry out of those that lie behind one of the host
// in the same zone.
func (z *Zones) Order(steps []plan.Step) []plan.Step {
	if z.zoner == nil {
		return steps
	}
	var ordered []plan.Step
	for _, s := range steps {
		for zone, part := range z.parts(s) {
			switch {
			case !zone.Sequential:
			case !part.Method.Offloads():
				z.byHost[zone.Start] = true
			case z.byHost[zone.Start]:
				part.ToHost(plan.ReasonZoneOrder)
			}
			ordered = append(ordered, part)
		}
	}
	return ordered
}

// FromPointers looks where the write pointers of the steps are that are left for the host.
// What lies below them was written by commands that did not say so: it is compared, and done
// if it is equal. The rest begins at the pointers.
func (z *Zones) FromPointers(ctx context.Context, steps []plan.Step) ([]plan.Step, error) {
	if z.zoner == nil || len(steps) == 0 {
		return steps, nil
	}
	slices.SortFunc(steps, func(a, b plan.Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	pointer := make(map[int64]int64)
	var left, written []plan.Step
	for _, s := range steps {
		for zone, part := range z.parts(s) {
			if !zone.Sequential {
				left = append(left, part)
				continue
			}
			z.byHost[zone.Start] = true
			if _, known := pointer[zone.Start]; !known {
				now, err := z.zoner.Zones(zone.Start, 1)
				if err != nil {
					return nil, failure.During("zones", err)
				}
				pointer[zone.Start] = now[0].Pointer
			}
			at := pointer[zone.Start]
			if done := min(at-part.DstOff, part.Len); done > 0 {
				written = append(written, part.Part(0, done))
				part = part.Part(done, part.Len-done)
			}
			if part.Len == 0 {
				continue
			}
			if part.DstOff != at {
				return nil, failure.During("zones", fmt.Errorf("%w: the zone of %s at byte %d was written up to byte %d instead of %d", ErrZone, z.name, zone.Start, at, part.DstOff))
			}
			pointer[zone.Start] = at + part.Len
			left = append(left, part)
		}
	}
	return left, z.written(ctx, written)
}

// written compares what is on the destination already, and counts it.
func (z *Zones) written(ctx context.Context, steps []plan.Step) error {
	if len(steps) == 0 {
		return nil
	}
	found, err := z.host.Compare(ctx, hostcopy.Ops(steps), emulation.Observer{})
	if err == nil {
		err = hostcopy.Lost(found.Failures)
	}
	if err != nil {
		return failure.During("zones", err)
	}
	if len(found.Mismatches) > 0 {
		m := found.Mismatches[0]
		return failure.During("zones", fmt.Errorf("%w: %s differs from byte %d on, where a command that failed has written", ErrZone, z.name, m.Dst))
	}
	for _, s := range steps {
		z.log.Info("a zone holds more than the command that failed has told of", "bytes", s.Len, "offset", s.DstOff)
		z.account.Enter(account.NVMeCopy, "", s.Len)
		z.account.Count(account.Redone, -s.Len)
	}
	return nil
}

// Pointer tells where the next write to the zone at byte off has to begin, and whether it is
// one that is written in order. The zones of a mapped device can be asked for under a hold:
// that does not wait for a suspended one (drivers/md/dm-zone.c, dm_blk_report_zones).
func (z *Zones) Pointer(off int64) (pointer int64, sequential bool, err error) {
	found, err := z.zoner.Zones(off, 1)
	if err != nil {
		return 0, false, failure.During("zones", err)
	}
	return found[0].Pointer, found[0].Sequential, nil
}
