package blocks

import (
	"cmp"
	"fmt"
	"slices"
)

// Piece is one run of blocks to copy from one side to the other, which may be the
// same device.
type Piece struct {
	SrcLBA uint64
	DstLBA uint64
	Blocks uint64
}

func (p Piece) String() string {
	return fmt.Sprintf("%d+%d->%d", p.SrcLBA, p.Blocks, p.DstLBA)
}

// From is the piece without its first n blocks.
func (p Piece) From(n uint64) Piece {
	return Piece{SrcLBA: p.SrcLBA + n, DstLBA: p.DstLBA + n, Blocks: p.Blocks - n}
}

// UpTo is the first n blocks of the piece.
func (p Piece) UpTo(n uint64) Piece {
	p.Blocks = n
	return p
}

// Valid: not empty, and neither end passes the last 64 bit LBA.
func (p Piece) Valid() bool {
	return p.Blocks > 0 && p.SrcLBA <= ^uint64(0)-p.Blocks && p.DstLBA <= ^uint64(0)-p.Blocks
}

// Source is where the piece is read.
func (p Piece) Source() Span { return Span{p.SrcLBA, p.SrcLBA + p.Blocks} }

// Destination is where the piece is written.
func (p Piece) Destination() Span { return Span{p.DstLBA, p.DstLBA + p.Blocks} }

// Append appends p, or lengthens the last piece when p continues it on both sides.
func Append(pieces []Piece, p Piece) []Piece {
	if n := len(pieces); n > 0 {
		last := &pieces[n-1]
		if last.SrcLBA+last.Blocks == p.SrcLBA && last.DstLBA+last.Blocks == p.DstLBA {
			last.Blocks += p.Blocks
			return pieces
		}
	}
	return append(pieces, p)
}

// SortByDestination orders valid pieces by where they go, in place, and joins those
// that continue each other on both sides. It turns the interleaved pieces of two
// striped volumes into long runs, and is worth it whenever the order does not
// matter.
func SortByDestination(pieces []Piece) []Piece {
	slices.SortFunc(pieces, func(a, b Piece) int { return cmp.Compare(a.DstLBA, b.DstLBA) })
	joined := pieces[:0]
	for _, p := range pieces {
		joined = Append(joined, p)
	}
	return joined
}
