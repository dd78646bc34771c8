package plan

import (
	"cmp"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/remap"
)

// Step is a piece of the plan: a run that is copied in one way and lies in one
// place on either side. All numbers are bytes.
type Step struct {
	SrcOff, DstOff, Len int64
	Method              account.Method
	// Reason says why the step is not offloaded.
	Reason remap.Reason
	// SrcLeaf and DstLeaf are set where the place is known.
	SrcLeaf, DstLeaf       *remap.Node
	SrcLeafOff, DstLeafOff int64
	// Domain names the copy domain of an offloaded step.
	Domain string

	Pair copydomain.Pair
	Via  *remap.Via // of the destination
	// bypassed is the device that the step must not be copied through: [remap.Node.Bypassed].
	bypassed *remap.Node
	// block is what an offloaded step cannot be cut below.
	Block int64
	blank
}

// blank is what reads as zeroes at a destination.
type blank struct {
	// unit is that of it ([remap.Place.Blank]), in bytes, and unitOff where the step is on
	// the device of it; 0 if that is not known.
	unit, unitOff int64
}

// align yields an offloaded step in pieces that fit the blocks of its leaves,
// and what sticks out at either end as slivers for the host. A step that is
// not offloaded goes as it is.
func (s *Step) align(yield func(*Step, error) bool) bool {
	if !s.Method.Offloads() {
		return yield(s, nil)
	}
	block := s.Block
	head := (block - s.DstLeafOff%block) % block
	if (s.SrcLeafOff+head)%block != 0 || head >= s.Len {
		s.ToHost(ReasonAlignment)
		return yield(s, nil)
	}
	tail := (s.Len - head) % block
	whole := *s
	if head > 0 && !yieldSliver(whole.Part(0, head), s, yield) {
		return false
	}
	if body := whole.Len - head - tail; body > 0 {
		*s = whole.Part(head, body)
		if !yield(s, nil) {
			return false
		}
	}
	if tail > 0 {
		return yieldSliver(whole.Part(whole.Len-tail, tail), s, yield)
	}
	return true
}

func yieldSliver(sliver Step, s *Step, yield func(*Step, error) bool) bool {
	*s = sliver
	s.ToHost(ReasonAlignment)
	return yield(s, nil)
}

// Part returns n bytes of the step, from byte off of it on.
func (s *Step) Part(off, n int64) Step {
	p := *s
	p.SrcOff += off
	p.DstOff += off
	p.SrcLeafOff += off
	p.DstLeafOff += off
	p.unitOff += off
	p.Len = n
	return p
}

// ToHost makes the step one that goes through the host.
func (s *Step) ToHost(why remap.Reason) {
	s.Method, s.Reason, s.Domain, s.Pair, s.Block = account.Host, why, "", copydomain.Pair{}, 0
}

// op copies a part of the step.
func (s *Step) op(start, end int64) emulation.Op {
	return emulation.Op{Src: s.SrcOff + start, Dst: s.DstOff + start, Len: end - start}
}

// Primable tells whether all that a step lacks is a block of a thin volume.
func (s *Step) Primable() bool { return s.Reason == reasonUnmapped && s.SrcLeaf != nil }

// wrongThrough tells whether carrying out the step would read or write through a device
// that is bypassed.
func (s *Step) wrongThrough() bool { return s.bypassed != nil && !s.Method.Offloads() }

// Without returns what is left of the steps when others, by their place on the
// destination, are taken away.
func Without(steps, taken []Step) []Step {
	taken = slices.SortedFunc(slices.Values(taken), func(a, b Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	var left []Step
	for _, s := range steps {
		first, _ := slices.BinarySearchFunc(taken, s.DstOff, func(t Step, off int64) int {
			return cmp.Compare(t.DstOff+t.Len, off+1)
		})
		end := s.DstOff + s.Len
		for _, t := range taken[first:] {
			if t.DstOff >= end {
				break
			}
			if before := t.DstOff - s.DstOff; before > 0 {
				left = append(left, s.Part(0, before))
			}
			cut := min(max(t.DstOff+t.Len-s.DstOff, 0), s.Len)
			s = s.Part(cut, s.Len-cut)
		}
		if s.Len > 0 {
			left = append(left, s)
		}
	}
	return left
}

// RangesOf are what the steps copy, neighbours joined.
func RangesOf(steps []Step) (list []byterange.Range) {
	for _, s := range steps {
		list = byterange.Join(list, byterange.Range{Src: s.SrcOff, Dst: s.DstOff, Len: s.Len})
	}
	return list
}
