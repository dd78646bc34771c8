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
	return NewPairer(src, dst).Pair(from, to)
}

// Pairer pairs many ranges, one after the other: it allocates nothing for each
// of them. Equal chains of all ranges have equal pointers.
type Pairer struct {
	src, dst *Cursor
	piece    Piece
}

// NewPairer returns a Pairer for ranges of devices of the two stacks.
func NewPairer(src, dst *Stack) *Pairer {
	return &Pairer{src: newCursor(src, Read), dst: newCursor(dst, Write)}
}

// Pair does what the function of that name does. It ends a walk that was not
// ended.
func (p *Pairer) Pair(from, to Range) iter.Seq2[*Piece, error] {
	return func(yield func(*Piece, error) bool) {
		if from.Len != to.Len {
			yield(nil, fmt.Errorf("remap: cannot pair %v with %v: lengths differ", from, to))
			return
		}
		if err := p.src.seek(from); err != nil {
			yield(nil, err)
			return
		}
		if err := p.dst.seek(to); err != nil {
			yield(nil, err)
			return
		}
		p.zip(yield)
	}
}

func (p *Pairer) zip(yield func(*Piece, error) bool) {
	var srcRest, dstRest Extent
	for {
		if srcRest.Len == 0 {
			if !p.src.Next() {
				return
			}
			srcRest = *p.src.Extent()
		}
		if dstRest.Len == 0 {
			if !p.dst.Next() {
				return
			}
			dstRest = *p.dst.Extent()
		}
		n := min(srcRest.Len, dstRest.Len)
		p.piece.Src, p.piece.Dst = srcRest, dstRest
		p.piece.Src.Len, p.piece.Dst.Len = n, n
		srcRest.advance(n)
		dstRest.advance(n)
		if !yield(&p.piece, nil) {
			return
		}
	}
}
