package blocks

import (
	"testing"

	"pgregory.net/rapid"
)

// spansOf and meet against a set of blocks.
func TestSpansMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Piece {
			return Piece{
				SrcLBA: rapid.Uint64Range(0, 60).Draw(t, "src"),
				DstLBA: rapid.Uint64Range(40, 100).Draw(t, "dst"),
				Blocks: rapid.Uint64Range(1, 12).Draw(t, "blocks"),
			}
		}), 0, 5).Draw(t, "pieces")
		var src, dst [128]bool
		for _, p := range pieces {
			for i := range p.Blocks {
				src[p.SrcLBA+i], dst[p.DstLBA+i] = true, true
			}
		}
		spans := spansOf(pieces, Piece.Source)
		var again [128]bool
		for i, s := range spans {
			if s.Start >= s.End || i > 0 && spans[i-1].End >= s.Start {
				t.Fatalf("not in order, or not joined: %v", spans)
			}
			for b := s.Start; b < s.End; b++ {
				again[b] = true
			}
		}
		if again != src {
			t.Fatalf("%v became %v", pieces, spans)
		}
		var common bool
		for b := range src {
			common = common || src[b] && dst[b]
		}
		s, bad := overlap(spans, spansOf(pieces, Piece.Destination))
		if bad != common || bad && (s.Start >= s.End || !src[s.Start] || !dst[s.Start]) {
			t.Fatalf("%v: %v, %v, want %v", pieces, s, bad, common)
		}
	})
}
