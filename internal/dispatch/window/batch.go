package window

import (
	"cmp"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// Batch is the steps of a window that one pair carries out, in the order of the
// destination leaf.
type Batch struct {
	Pair     copydomain.Pair
	Steps    []plan.Step
	NotAfter boottime.Limit // for beginning a command
}

// NewBatch sorts the steps of a pair.
func NewBatch(steps []plan.Step, notAfter boottime.Limit) *Batch {
	slices.SortFunc(steps, func(a, b plan.Step) int { return cmp.Compare(a.DstLeafOff, b.DstLeafOff) })
	return &Batch{Pair: steps[0].Pair, Steps: steps, NotAfter: notAfter}
}

// Moves are the steps in sectors on the leaves.
func (b *Batch) Moves() []copydomain.Move {
	moves := make([]copydomain.Move, 0, len(b.Steps))
	for _, s := range b.Steps {
		moves = append(moves, copydomain.Move{Src: remap.Sectors(s.SrcLeafOff), Dst: remap.Sectors(s.DstLeafOff), Len: remap.Sectors(s.Len)})
	}
	return moves
}

// Covers tells whether the run of the destination leaf, in bytes, lies within
// the steps of the batch.
func (b *Batch) Covers(off, n int64) bool {
	for _, part := range b.At(off, n) {
		if part.DstLeafOff != off {
			return false
		}
		off += part.Len
		n -= part.Len
	}
	return n == 0
}

// At returns the parts of the steps that write the run of the destination leaf,
// in bytes: the way back from the leaves to the top.
func (b *Batch) At(off, n int64) []plan.Step {
	first, _ := slices.BinarySearchFunc(b.Steps, off, func(s plan.Step, off int64) int {
		return cmp.Compare(s.DstLeafOff+s.Len, off+1)
	})
	var parts []plan.Step
	for _, s := range b.Steps[first:] {
		if s.DstLeafOff >= off+n {
			break
		}
		start := max(off, s.DstLeafOff)
		end := min(off+n, s.DstLeafOff+s.Len)
		parts = append(parts, s.Part(start-s.DstLeafOff, end-start))
	}
	return parts
}

// Whole is At, rounded out to what the steps cannot be cut below: of a block
// that is enciphered as one, the host cannot copy a half. What is taken already
// is left out.
func (b *Batch) Whole(off, n int64, taken []plan.Step) []plan.Step {
	parts := b.At(off, n)
	rounded := false
	for i, s := range parts {
		head := s.DstLeafOff % s.Block
		tail := (s.Block - (s.DstLeafOff+s.Len)%s.Block) % s.Block
		rounded = rounded || head+tail > 0
		parts[i] = s.Part(-head, head+s.Len+tail)
	}
	if !rounded {
		return parts
	}
	return plan.Without(parts, taken)
}
