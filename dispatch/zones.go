package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/remap"
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

// Zoner is a device with zones, which tells those that a range lies in.
type Zoner interface {
	Zones(off, n int64) ([]blockio.Zone, error)
}

// hostManaged is the zone model of devices that enforce the order of writes.
const hostManaged = "host-managed"

// ReasonZoneOrder: the host has written to the front of the zone, and so writes the
// rest of it.
const ReasonZoneOrder remap.Reason = "zone:order"

// ErrZone: a zone of the destination is not written as it has to be.
var ErrZone = errors.New("the zone does not hold what was copied to it: reset it and copy it again")

// inOrder is how the host copies to zones. Transfers are small enough to be one request
// each.
var inOrder = emulation.Options{QueueDepth: 1, BlockSize: 128 << 10, Ordered: true}

// sequential is a device that is written in order. Its zeroes are written like everything
// else: what becomes of the pointer when the command for zeroes fails is another question for
// each device. After a write that has failed it takes no other one: there are disks (QEMU's)
// whose pointer then is not where they say, and which would leave a hole.
type sequential struct {
	emulation.Device
	failed atomic.Pointer[error]
}

// Zero implements [emulation.Device].
func (*sequential) Zero(int64, int64) error { return errors.ErrUnsupported }

// WriteAt implements [emulation.Device].
func (s *sequential) WriteAt(p []byte, off int64) (int, error) {
	if err := s.failed.Load(); err != nil {
		return 0, *err
	}
	n, err := s.Device.WriteAt(p, off)
	if err != nil {
		s.failed.Store(&err)
	}
	return n, err
}

// zoned tells whether a leaf is known to have zones of any kind.
func zoned(leaf *remap.Node) bool {
	return leaf.Leaf != nil && leaf.Leaf.Zoned != "none" && leaf.Leaf.Zoned != ""
}

// zones is what a run knows of the zones of its destination; without zones, all of it does
// nothing.
type zones struct {
	name  string
	zoner Zoner
	// byHost are the zones, by their start, that the host has begun or is to go on with.
	byHost map[int64]bool
	// known are the zones of all ranges, in order.
	known []blockio.Zone
}

func newZones(dst Endpoint) zones {
	return zones{name: dst.Name, zoner: dst.Zones, byHost: make(map[int64]bool)}
}

// refuse refuses ranges that the zones of the destination do not take. In the order in which
// they are copied, each has to begin at a write pointer and to end within the capacity.
func (z *zones) refuse(ranges []Range) error {
	if z.zoner == nil {
		return nil
	}
	pointer := make(map[int64]int64)
	for _, r := range ranges {
		found, err := z.zoner.Zones(r.Dst, r.Len)
		if err != nil {
			return wrap("zones", err)
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

func (z *zones) refuseZone(zone blockio.Zone, r Range, pointer map[int64]int64) error {
	if _, known := pointer[zone.Start]; !known {
		pointer[zone.Start] = zone.Pointer
		// The kernel may know the pointer of a zone that was begun.
		z.byHost[zone.Start] = zone.Pointer > zone.Start
	}
	from, to := max(r.Dst, zone.Start), min(r.Dst+r.Len, zone.Start+zone.Len)
	switch end := zone.Start + zone.Capacity; {
	case !zone.Writable:
		return refuse(z.name, "cannot be written in the zone at byte %d", "reset the zone (blkzone reset), or choose another range", zone.Start)
	case from != pointer[zone.Start]:
		return refuse(z.name, "is to be written from byte %d on, but its zone there takes nothing except at byte %d",
			"begin there, or reset the zone (blkzone reset), which destroys what it holds", from, pointer[zone.Start])
	case to > end:
		return refuse(z.name, "ends at byte %d in the zone at byte %d: there is nothing up to the next zone, at byte %d",
			"copy zone by zone with --range", end, zone.Start, zone.Start+zone.Len)
	}
	pointer[zone.Start] = to
	return nil
}

// passed cuts off of the ranges of a copy that goes on what its earlier runs have written
// without having noted it: it lies below the write pointers, and is equal to the source.
func (r *run) passed(ctx context.Context, ranges []Range) (left, there []Range, err error) {
	if r.zones.zoner == nil {
		return ranges, nil, nil
	}
	for _, g := range ranges {
		found, err := r.zones.zoner.Zones(g.Dst, g.Len)
		if err != nil {
			return nil, nil, wrap("zones", err)
		}
		for _, zone := range found {
			n := min(g.Len, zone.Start+zone.Len-g.Dst)
			below := int64(0)
			if zone.Sequential {
				below = min(max(zone.Pointer-g.Dst, 0), n)
			}
			there = appendRange(there, g.part(0, below))
			left = appendRange(left, g.part(below, n))
			g = g.part(n, g.Len)
		}
	}
	found, err := r.engine.Compare(ctx, r.job.Src.Device, r.job.Dst.Device, copies(there), emulation.Observer{})
	if err == nil {
		err = lost(found.Failures)
	}
	if err != nil {
		return nil, nil, wrap("zones", err)
	}
	if len(found.Mismatches) > 0 {
		return nil, nil, refuse(r.zones.name, "holds something else at byte %d, below a write pointer",
			"reset the zone (blkzone reset), which destroys what it holds, or choose another range", found.Mismatches[0].Dst)
	}
	return left, there, r.zones.refuse(left)
}

// parts cuts a step at the boundaries of zones.
func (z *zones) parts(s Step) iter.Seq2[blockio.Zone, Step] {
	return func(yield func(blockio.Zone, Step) bool) {
		i, _ := slices.BinarySearchFunc(z.known, s.DstOff, func(zone blockio.Zone, off int64) int {
			return cmp.Compare(zone.Start+zone.Len, off+1)
		})
		for ; i < len(z.known) && s.Len > 0; i++ {
			n := min(s.Len, z.known[i].Start+z.known[i].Len-s.DstOff)
			if !yield(z.known[i], s.part(0, n)) {
				return
			}
			s = s.part(n, s.Len-n)
		}
	}
}

// order makes steps that the host has to carry out of those that lie behind one of the host
// in the same zone.
func (z *zones) order(steps []Step) []Step {
	if z.zoner == nil {
		return steps
	}
	var ordered []Step
	for _, s := range steps {
		for zone, part := range z.parts(s) {
			switch {
			case !zone.Sequential:
			case !part.Method.offloads():
				z.byHost[zone.Start] = true
			case z.byHost[zone.Start]:
				part.toHost(ReasonZoneOrder)
			}
			ordered = append(ordered, part)
		}
	}
	return ordered
}

// fromPointers looks where the write pointers of the steps are that are left for the host.
// What lies below them was written by commands that did not say so: it is compared, and done
// if it is equal. The rest begins at the pointers.
func (r *run) fromPointers(ctx context.Context, steps []Step) ([]Step, error) {
	z := &r.zones
	if z.zoner == nil || len(steps) == 0 {
		return steps, nil
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	pointer := make(map[int64]int64)
	var left, written []Step
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
					return nil, wrap("zones", err)
				}
				pointer[zone.Start] = now[0].Pointer
			}
			at := pointer[zone.Start]
			if done := min(at-part.DstOff, part.Len); done > 0 {
				written = append(written, part.part(0, done))
				part = part.part(done, part.Len-done)
			}
			if part.Len == 0 {
				continue
			}
			if part.DstOff != at {
				return nil, wrap("zones", fmt.Errorf("%w: the zone of %s at byte %d was written up to byte %d instead of %d", ErrZone, z.name, zone.Start, at, part.DstOff))
			}
			pointer[zone.Start] = at + part.Len
			left = append(left, part)
		}
	}
	return left, r.written(ctx, written)
}

// written compares what is on the destination already, and counts it.
func (r *run) written(ctx context.Context, steps []Step) error {
	if len(steps) == 0 {
		return nil
	}
	found, err := r.engine.Compare(ctx, r.job.Src.Device, r.job.Dst.Device, ops(steps), emulation.Observer{})
	if err == nil {
		err = lost(found.Failures)
	}
	if err != nil {
		return wrap("zones", err)
	}
	if len(found.Mismatches) > 0 {
		m := found.Mismatches[0]
		return wrap("zones", fmt.Errorf("%w: %s differs from byte %d on, where a command that failed has written", ErrZone, r.job.Dst.Name, m.Dst))
	}
	for _, s := range steps {
		r.log.Info("a zone holds more than the command that failed has told of", "bytes", s.Len, "offset", s.DstOff)
		r.count(Method(copydomain.NVMeCopy), s.Len)
		r.stats.redone -= s.Len
	}
	return nil
}
