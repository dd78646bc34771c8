package emulation

import (
	"testing"

	"pgregory.net/rapid"
)

// TestCut: the pieces are the operation, they end on multiples of the size, and
// it does not matter from which side they are cut.
func TestCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := int64(1) << rapid.IntRange(0, 20).Draw(t, "size")
		op := Op{
			Src:  rapid.Int64Range(0, 1<<40).Draw(t, "source"),
			Dst:  rapid.Int64Range(0, 1<<40).Draw(t, "destination"),
			Len:  rapid.Int64Range(1, 50*size).Draw(t, "length"),
			Zero: rapid.Bool().Draw(t, "zero"),
		}
		var up, down []Op
		for rest := op; rest.Len > 0; {
			var piece Op
			piece, rest = rest.cut(size)
			up = append(up, piece)
		}
		for rest := op; rest.Len > 0; {
			var piece Op
			rest, piece = rest.cutLast(size)
			down = append(down, piece)
		}
		joined := Op{Src: op.Src, Dst: op.Dst, Zero: op.Zero}
		for i, piece := range up {
			if piece != down[len(up)-1-i] {
				t.Fatalf("piece %d: %+v and %+v", i, piece, down[len(up)-1-i])
			}
			if piece.Len <= 0 || piece.Dst/size != (piece.Dst+piece.Len-1)/size {
				t.Fatalf("piece %d: %+v crosses a multiple of %d", i, piece, size)
			}
			if i > 0 && !joined.precedes(piece) {
				t.Fatalf("piece %d: %+v does not follow %+v", i, piece, joined)
			}
			joined.Len += piece.Len
		}
		if joined != op || len(down) != len(up) {
			t.Fatalf("%+v became %+v", op, joined)
		}
	})
}
