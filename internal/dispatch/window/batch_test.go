package window

import (
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
)

// TestWhole: what the host has to do again of enciphered blocks is whole blocks,
// each once.
func TestWhole(t *testing.T) {
	b := NewBatch([]plan.Step{{DstOff: 0, DstLeafOff: 8192, Len: 32768, Block: 4096}, {DstOff: 32768, DstLeafOff: 81920, Len: 4096, Block: 4096}}, nil)
	var redo []plan.Step
	for _, run := range [][2]int64{{8192 + 512, 512}, {8192 + 1536, 512}, {8192 + 4096 + 3584, 1024}, {81920, 512}} {
		redo = append(redo, b.Whole(run[0], run[1], redo)...)
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
