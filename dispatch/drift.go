package dispatch

import (
	"context"

	"github.com/dmcopy/dmcopy/remap"
)

// ReasonDrifted: what was copied from below a snapshot was moved out of the way
// of a write to the origin meanwhile.
const ReasonDrifted remap.Reason = "layout:drifted"

// drifted looks again where the source of a window lives, if it lives below a
// layer that gains entries without a change of layout, and returns what has
// moved: the device may have copied what came to the old place since. Such a
// layer is on disk before the old place is written to (dm-snap.c,
// pending_complete), so that what has not moved by now was right when it was
// copied. The hold has been released: reading those layers is I/O.
func (r *run) drifted(ctx context.Context, offload map[pairKey][]Step, redo []Step) ([]Step, error) {
	if !r.plan.stack.Drifts(r.job.Src.Dev) {
		return nil, nil
	}
	now, err := r.settle(ctx)
	if err != nil {
		return nil, err
	}
	var moved []Step
	for _, steps := range offload {
		for _, s := range without(steps, redo) {
			some, err := now.movedSource(s)
			if err != nil {
				return nil, wrap("plan", err)
			}
			moved = append(moved, some...)
		}
	}
	for i := range moved {
		s := &moved[i]
		r.counters.offloaded.Add(-s.Len)
		r.tally.add(s.Method, "", -s.Len)
		s.toHost(ReasonDrifted)
	}
	r.redone(moved)
	return moved, nil
}

// movedSource returns the parts of an offloaded step whose source does not live
// any more where the step has read it, rounded out to blocks.
func (p *plan) movedSource(s Step) ([]Step, error) {
	var moved []Step
	from := remap.Range{Dev: p.src.Dev, Start: sectors(s.SrcOff), Len: sectors(s.Len)}
	for e, err := range p.stack.Resolve(remap.Read, from) {
		if err != nil {
			return nil, err
		}
		off := e.Start.Bytes() - s.SrcOff
		if liesAt(&e, s.SrcLeaf.Dev, sectors(s.SrcLeafOff+off)) {
			continue
		}
		start := off - off%s.block
		end := min(s.Len, off+e.Len.Bytes()+s.block-1)
		part := s.part(start, end-end%s.block-start)
		moved = append(moved, without([]Step{part}, moved[max(len(moved)-1, 0):])...)
	}
	return moved, nil
}

// liesAt tells whether an extent can be read at sector at of a leaf.
func liesAt(e *remap.Extent, leaf remap.Dev, at remap.Sector) bool {
	switch e.Kind {
	case remap.Data, remap.Cipher, remap.Opaque: // opaque is what lies in a file
		return e.Leg.Dev == leaf && e.Leg.Start == at
	case remap.Replica:
		for _, leg := range e.Legs {
			if leg.Readable && leg.Dev == leaf && leg.Start == at {
				return true
			}
		}
	}
	return false
}
