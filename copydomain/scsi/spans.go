package scsi

import (
	"cmp"
	"fmt"
	"slices"
)

// span is the blocks [start, end).
type span struct{ start, end uint64 }

func (s span) String() string { return fmt.Sprintf("[%d,%d)", s.start, s.end) }

func (p Piece) source() span      { return span{p.SrcLBA, p.SrcLBA + p.Blocks} }
func (p Piece) destination() span { return span{p.DstLBA, p.DstLBA + p.Blocks} }

// spansOf is one side of the pieces in order, with what touches joined.
func spansOf(pieces []Piece, side func(Piece) span) []span {
	all := make([]span, 0, len(pieces))
	for _, p := range pieces {
		all = append(all, side(p))
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	joined := all[:0]
	for _, s := range all {
		if n := len(joined); n > 0 && s.start <= joined[n-1].end {
			joined[n-1].end = max(joined[n-1].end, s.end)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// meet finds a block that lies in both lists, which are as spansOf makes them.
func meet(a, b []span) (span, bool) {
	for len(a) > 0 && len(b) > 0 {
		common := span{max(a[0].start, b[0].start), min(a[0].end, b[0].end)}
		if common.start < common.end {
			return common, true
		}
		if a[0].end < b[0].end {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return span{}, false
}
