package blocks

import (
	"cmp"
	"fmt"
	"slices"
)

// Span is the blocks [Start, End).
type Span struct{ Start, End uint64 }

func (s Span) String() string { return fmt.Sprintf("[%d,%d)", s.Start, s.End) }

// spansOf is one side of the pieces in order, with what touches joined.
func spansOf(pieces []Piece, side func(Piece) Span) []Span {
	all := make([]Span, 0, len(pieces))
	for _, p := range pieces {
		all = append(all, side(p))
	}
	slices.SortFunc(all, func(a, b Span) int { return cmp.Compare(a.Start, b.Start) })
	joined := all[:0]
	for _, s := range all {
		if n := len(joined); n > 0 && s.Start <= joined[n-1].End {
			joined[n-1].End = max(joined[n-1].End, s.End)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// overlap finds a block that lies in both lists, which are as spansOf makes them.
func overlap(a, b []Span) (Span, bool) {
	for len(a) > 0 && len(b) > 0 {
		common := Span{max(a[0].Start, b[0].Start), min(a[0].End, b[0].End)}
		if common.Start < common.End {
			return common, true
		}
		if a[0].End < b[0].End {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return Span{}, false
}
