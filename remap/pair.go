package remap

import (
	"fmt"
	"iter"
)

// Piece is a run that is one extent on the source and one on the destination:
// both extents have the same length.
type Piece struct {
	Src, Dst Extent
}

// Len returns the length of the piece in sectors.
func (p *Piece) Len() Sector { return p.Src.Len }

// Pair zips a source range with a destination range of the same length into
// pieces that are contiguous on both sides, in order and without gaps. The
// source is resolved for reading, the destination for writing. Memory does not
// grow with the number of pieces; the yielded piece is reused.
func Pair(src *Stack, from Range, dst *Stack, to Range) iter.Seq2[*Piece, error] {
	return func(yield func(*Piece, error) bool) {
		if from.Len != to.Len {
			yield(nil, fmt.Errorf("remap: cannot pair %v with %v: lengths differ", from, to))
			return
		}
		s, err := src.Cursor(Read, from)
		if err != nil {
			yield(nil, err)
			return
		}
		d, err := dst.Cursor(Write, to)
		if err != nil {
			yield(nil, err)
			return
		}
		zip(s, d, yield)
	}
}

func zip(s, d *Cursor, yield func(*Piece, error) bool) {
	var piece Piece
	var srcRest, dstRest Extent
	for {
		if srcRest.Len == 0 {
			if !s.Next() {
				return
			}
			srcRest = *s.Extent()
		}
		if dstRest.Len == 0 {
			if !d.Next() {
				return
			}
			dstRest = *d.Extent()
		}
		n := min(srcRest.Len, dstRest.Len)
		piece.Src, piece.Dst = srcRest, dstRest
		piece.Src.Len, piece.Dst.Len = n, n
		srcRest.advance(n)
		dstRest.advance(n)
		if !yield(&piece, nil) {
			return
		}
	}
}
