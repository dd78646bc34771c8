package dispatch

import (
	"testing"

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
		for _, s := range without(steps, taken) {
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

// TestWhole: what the host has to do again of enciphered blocks is whole blocks,
// each once.
func TestWhole(t *testing.T) {
	b := newBatch([]Step{{DstOff: 0, DstLeafOff: 8192, Len: 32768, block: 4096}, {DstOff: 32768, DstLeafOff: 81920, Len: 4096, block: 4096}}, nil)
	var redo []Step
	for _, run := range [][2]int64{{8192 + 512, 512}, {8192 + 1536, 512}, {8192 + 4096 + 3584, 1024}, {81920, 512}} {
		redo = append(redo, b.whole(run[0], run[1], redo)...)
	}
	want := [][2]int64{{0, 4096}, {4096, 8192}, {32768, 4096}}
	if len(redo) != len(want) {
		t.Fatalf("%d pieces: %+v", len(redo), redo)
	}
	for i, s := range redo {
		if s.DstOff != want[i][0] || s.Len != want[i][1] || s.DstLeafOff%4096 != 0 {
			t.Errorf("piece %d is [%d,+%d)", i, s.DstOff, s.Len)
		}
	}
}
