package byterange

import (
	"testing"

	"pgregory.net/rapid"
)

// TestStretches: places lie within the ranges, each of full length, with the first and the
// last byte among them; and they are everything where that is not more.
func TestStretches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ranges []Range
		for at := int64(0); len(ranges) == 0 || at < 1<<20 && rapid.IntRange(0, 9).Draw(t, "more") > 0; {
			at += int64(rapid.IntRange(0, 3).Draw(t, "gap")) * 512
			g := Range{Src: 1<<30 - at, Dst: at, Len: int64(rapid.IntRange(1, 200).Draw(t, "length")) * 512}
			ranges, at = append(ranges, g), at+g.Len
		}
		places, n := rapid.IntRange(2, 8).Draw(t, "places"), int64(rapid.IntRange(1, 16).Draw(t, "bytes"))*4096
		picked := Stretches(ranges, places, n)
		if got, want := Length(picked), min(Length(ranges), int64(places)*n); got != want {
			t.Fatalf("%d bytes instead of %d", got, want)
		}
		for _, p := range picked {
			within := false
			for _, g := range ranges {
				within = within || p.Dst >= g.Dst && p.Dst+p.Len <= g.Dst+g.Len && p.Src-p.Dst == g.Src-g.Dst
			}
			if !within {
				t.Fatalf("%+v is in none of %+v", p, ranges)
			}
		}
		end, last := ranges[len(ranges)-1], picked[len(picked)-1]
		if picked[0].Dst != ranges[0].Dst || last.Dst+last.Len != end.Dst+end.Len {
			t.Fatalf("%+v of %+v", picked, ranges)
		}
	})
}
