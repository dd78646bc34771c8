package plan

import (
	"iter"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
)

// GranuleHeads are the operations that touch every granule of a step: from its
// beginning on in strides of a granule, and at its end, which can be in one more.
func GranuleHeads(s *Step, granule int64) iter.Seq[emulation.Op] {
	return func(yield func(emulation.Op) bool) {
		end := int64(0) // of what is touched
		for off := int64(0); off < s.Len; off += granule {
			end = min(off+primeBytes, s.Len)
			if !yield(s.op(off, end)) {
				return
			}
		}
		if tail := max(s.Len-primeBytes, end); tail < s.Len {
			yield(s.op(tail, s.Len))
		}
	}
}

// Granule is the smallest unit in which thin volumes of the destination are
// given blocks, in sectors; 0 if there is none below which anything could be
// offloaded, or nothing is to be primed.
func (p *Plan) Granule() remap.Sector {
	if !p.Prime || p.Stack == nil || p.Hold == hold.None {
		return 0
	}
	var least remap.Sector
	for _, n := range p.Stack.Under(p.Dst.Dev) {
		if p.Hold != hold.Trust && lockless(n) {
			continue
		}
		if n.Granule > 0 && (least == 0 || n.Granule < least) {
			least = n.Granule
		}
	}
	return least
}
