// Package byterange is the arithmetic of what is copied: runs of bytes that lie at one
// place of a source and at another one of a destination.
package byterange

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// Range is a run of bytes to copy.
type Range struct {
	Src, Dst int64 // byte offsets
	Len      int64 // bytes
}

// Follow, for an offset of a range, is where the range before it ended, or 0 for the first
// one.
const Follow = math.MinInt64

// Run is a run of bytes of the destination.
type Run struct{ Off, Len int64 }

// Part is what lies between two offsets into the range.
func (g Range) Part(from, to int64) Range {
	return Range{Src: g.Src + from, Dst: g.Dst + from, Len: to - from}
}

// After settles the offsets that are Follow: they follow those of another range.
func (g Range) After(last Range) Range {
	if g.Src == Follow {
		g.Src = last.Src + last.Len
	}
	if g.Dst == Follow {
		g.Dst = last.Dst + last.Len
	}
	return g
}

// follows tells whether a range goes on where another one ends, at both ends.
func (g Range) follows(last Range) bool {
	return last.Src+last.Len == g.Src && last.Dst+last.Len == g.Dst
}

// Append adds a range unless it is empty.
func Append(list []Range, g Range) []Range {
	if g.Len <= 0 {
		return list
	}
	return append(list, g)
}

// Join adds a range, as a part of the last one where it goes on.
func Join(list []Range, g Range) []Range {
	if n := len(list); n > 0 && g.follows(list[n-1]) {
		list[n-1].Len += g.Len
		return list
	}
	return append(list, g)
}

// Length is how many bytes the ranges have.
func Length(list []Range) int64 {
	var sum int64
	for _, g := range list {
		sum += g.Len
	}
	return sum
}

// Skip drops the first n bytes of the ranges.
func Skip(list []Range, n int64) []Range {
	for len(list) > 0 && n >= list[0].Len {
		n -= list[0].Len
		list = list[1:]
	}
	if n == 0 || len(list) == 0 {
		return list
	}
	rest := slices.Clone(list)
	rest[0] = rest[0].Part(n, rest[0].Len)
	return rest
}

// First are the first n bytes of the ranges.
func First(list []Range, n int64) []Range {
	var some []Range
	for _, g := range list {
		some = Append(some, g.Part(0, min(g.Len, n)))
		if n -= g.Len; n <= 0 {
			break
		}
	}
	return some
}

// Runs are the runs of the destination that the ranges write, in order. Those that
// touch are one.
func Runs(list []Range) []Run {
	var runs []Run
	for _, i := range ByDestination(list) {
		g := list[i]
		if g.Len <= 0 {
			continue
		}
		if n := len(runs); n > 0 && g.Dst <= runs[n-1].Off+runs[n-1].Len {
			runs[n-1].Len = max(runs[n-1].Len, g.Dst+g.Len-runs[n-1].Off)
			continue
		}
		runs = append(runs, Run{g.Dst, g.Len})
	}
	return runs
}

// ByDestination lists the indices of ranges in the order of what they write.
func ByDestination(list []Range) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(list[a].Dst, list[b].Dst) })
	return order
}

// Divide cuts ranges into what lies in the runs and what does not. The runs are in
// order, and do not overlap.
func Divide(list []Range, runs []Run) (in, out []Range) {
	for _, g := range list {
		from := sort.Search(len(runs), func(i int) bool { return runs[i].Off+runs[i].Len > g.Dst })
		for _, r := range runs[from:] {
			if r.Off >= g.Dst+g.Len {
				break
			}
			out = Append(out, g.Part(0, r.Off-g.Dst))
			begin := max(r.Off-g.Dst, 0)
			end := min(r.Off+r.Len-g.Dst, g.Len)
			in = Append(in, g.Part(begin, end))
			g = g.Part(end, g.Len)
		}
		out = Append(out, g)
	}
	return in, out
}

// without is what is left of ranges when parts of them are taken away.
func Without(list, parts []Range) []Range {
	_, rest := Divide(list, Runs(parts))
	return rest
}

// unit is what the places of spread and stretches begin at multiples of, so that few of
// them straddle two blocks.
const unit = 4096

// Spread picks places of n bytes, or of what there is, evenly over the ranges;
// the beginning and the end are among them.
func Spread(list []Range, places int, n int64) []Range {
	total := Length(list)
	var picked []Range
	i, begin := 0, int64(0) // the range that is looked at, and where it begins
	for k := range int64(places) {
		at := max(total-n, 0) / int64(places-1) * k &^ (unit - 1)
		if k == int64(places-1) {
			at = max(total-n, 0)
		}
		for i < len(list) && at >= begin+list[i].Len {
			begin += list[i].Len
			i++
		}
		if i == len(list) {
			break
		}
		g := list[i]
		place := g.Part(at-begin, min(at-begin+n, g.Len))
		if !slices.Contains(picked, place) {
			picked = append(picked, place)
		}
	}
	return picked
}

// Stretches picks places of n bytes evenly over the ranges, the beginning and the end
// among them, or everything if that is not more. Unlike those of spread they go on from
// one range into the next: what was done is in pieces, however near they lie.
func Stretches(list []Range, places int, n int64) []Range {
	total := Length(list)
	if total <= int64(places)*n {
		return list
	}
	var picked []Range
	for k := range int64(places) {
		at := (total - n) / int64(places-1) * k &^ (unit - 1)
		if k == int64(places-1) {
			at = total - n
		}
		picked = append(picked, First(Skip(list, at), n)...)
	}
	return picked
}
