package plan

import (
	"context"
	"iter"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
)

// PunchedHoles streams what of the ranges is a hole of the destination, a regular file, and neither
// a hole of the source nor known to read as zeroes there. Of a destination whose holes are not
// known it is nothing.
func (p *Plan) PunchedHoles(ctx context.Context, ranges []byterange.Range) iter.Seq2[byterange.Range, error] {
	return func(yield func(byterange.Range, error) bool) {
		if p.Dst.Holes == nil {
			return
		}
		for _, r := range ranges {
			for g := range runs(p.Dst.Holes, r, r.Dst, true) {
				if !p.dataOf(ctx, g, yield) {
					return
				}
			}
		}
	}
}

// dataOf yields what of a range the source may hold data in.
func (p *Plan) dataOf(ctx context.Context, g byterange.Range, yield func(byterange.Range, error) bool) bool {
	for s, err := range p.Steps(ctx, []byterange.Range{g}) {
		if err != nil {
			return yield(g, err)
		}
		part := byterange.Range{Src: s.SrcOff, Dst: s.DstOff, Len: s.Len}
		switch {
		case s.Method == account.Zero || s.Method == account.Skip:
			continue
		case p.src.Holes == nil:
			if !yield(part, nil) {
				return false
			}
			continue
		}
		for data := range runs(p.src.Holes, part, part.Src, false) {
			if !yield(data, nil) {
				return false
			}
		}
	}
	return true
}

// runs are the parts of a range that are holes of a file, or are none; off is where the
// range begins there. A file that fails, or whose answer is impossible, is not asked again: what it
// does not tell is among the parts, and will be compared.
func runs(file ends.HoleFinder, r byterange.Range, off int64, holes bool) iter.Seq[byterange.Range] {
	return func(yield func(byterange.Range) bool) {
		for at := int64(0); at < r.Len; {
			hole, end, err := file.At(off + at)
			n := min(end-(off+at), r.Len-at)
			if err != nil || n <= 0 {
				hole, n = holes, r.Len-at
			}
			if hole == holes && !yield(r.Part(at, at+n)) {
				return
			}
			at += n
		}
	}
}
