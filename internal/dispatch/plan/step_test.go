package plan

import (
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"pgregory.net/rapid"
)

// TestWithout: what is left and what was taken cover the steps once, and places
// on the leaves go along.
func TestWithout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, bias int64) []Step {
			var steps []Step
			at := int64(0)
			for range rapid.IntRange(0, 6).Draw(t, name) {
				at += rapid.Int64Range(0, 5).Draw(t, "gap")
				n := rapid.Int64Range(1, 8).Draw(t, "len")
				steps = append(steps, Step{SrcOff: at + 7, DstOff: at, SrcLeafOff: at + 100, DstLeafOff: at + bias, Len: n})
				at += n
			}
			return rapid.Permutation(steps).Draw(t, name+" order")
		}
		steps, taken := draw("steps", 200), draw("taken", 200)
		cover := make(map[int64]int)
		for _, s := range Without(steps, taken) {
			if s.Len < 1 || s.SrcOff != s.DstOff+7 || s.SrcLeafOff != s.DstOff+100 || s.DstLeafOff != s.DstOff+200 {
				t.Fatalf("piece %+v", s)
			}
			for i := range s.Len {
				cover[s.DstOff+i]++
			}
		}
		want := make(map[int64]int)
		for _, s := range steps {
			for i := range s.Len {
				want[s.DstOff+i] = 1
			}
		}
		for _, s := range taken {
			for i := range s.Len {
				delete(want, s.DstOff+i)
			}
		}
		if len(cover) != len(want) {
			t.Fatalf("%d bytes left, want %d", len(cover), len(want))
		}
		for at, n := range cover {
			if n != want[at] {
				t.Fatalf("byte %d is left %d times", at, n)
			}
		}
	})
}

// TestRangesOf: neighbours on both sides are one range.
func TestRangesOf(t *testing.T) {
	got := RangesOf([]Step{
		{SrcOff: 0, DstOff: 512, Len: 512}, {SrcOff: 512, DstOff: 1024, Len: 512},
		{SrcOff: 2048, DstOff: 1536, Len: 512}, {SrcOff: 2560, DstOff: 4096, Len: 512},
	})
	want := []byterange.Range{{Src: 0, Dst: 512, Len: 1024}, {Src: 2048, Dst: 1536, Len: 512}, {Src: 2560, Dst: 4096, Len: 512}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%v", got)
	}
	if byterange.Length(got) != 2048 {
		t.Errorf("%d bytes", byterange.Length(got))
	}
}
