package scsi

import (
	"cmp"
	"fmt"
	"slices"
)

// Piece is one run of blocks to copy between the two sides of a pair.
type Piece struct {
	SrcLBA uint64
	DstLBA uint64
	Blocks uint64
}

func (p Piece) String() string {
	return fmt.Sprintf("%d+%d->%d", p.SrcLBA, p.Blocks, p.DstLBA)
}

// from is the piece without its first n blocks.
func (p Piece) from(n uint64) Piece {
	return Piece{SrcLBA: p.SrcLBA + n, DstLBA: p.DstLBA + n, Blocks: p.Blocks - n}
}

// upTo is the first n blocks of the piece.
func (p Piece) upTo(n uint64) Piece {
	p.Blocks = n
	return p
}

// valid: not empty, and neither end passes the last 64 bit LBA.
func (p Piece) valid() bool {
	return p.Blocks > 0 && p.SrcLBA <= ^uint64(0)-p.Blocks && p.DstLBA <= ^uint64(0)-p.Blocks
}

// appendPiece appends p, or lengthens the last piece when p continues it on both
// sides.
func appendPiece(pieces []Piece, p Piece) []Piece {
	if n := len(pieces); n > 0 {
		last := &pieces[n-1]
		if last.SrcLBA+last.Blocks == p.SrcLBA && last.DstLBA+last.Blocks == p.DstLBA {
			last.Blocks += p.Blocks
			return pieces
		}
	}
	return append(pieces, p)
}

// SortByDestination orders pieces by where they go, and joins those that continue
// each other on both sides.
func SortByDestination(pieces []Piece) []Piece {
	slices.SortFunc(pieces, func(a, b Piece) int { return cmp.Compare(a.DstLBA, b.DstLBA) })
	joined := pieces[:0]
	for _, p := range pieces {
		joined = appendPiece(joined, p)
	}
	return joined
}

// split cuts off the end of each piece that does not fill the granularity.
func split(pieces []Piece, granularity uint32) (whole, slivers []Piece) {
	for _, p := range pieces {
		n := p.Blocks / uint64(granularity) * uint64(granularity)
		if n > 0 {
			whole = append(whole, p.upTo(n))
		}
		if n < p.Blocks {
			slivers = append(slivers, p.from(n))
		}
	}
	return whole, slivers
}

// Packer cuts pieces into segments, and these into commands. Nothing is merged or
// reordered: the segments follow the order of the pieces, and every one is as long
// as the limits allow.
//
// The Packer reads the slice as it goes and does not change it.
type Packer struct {
	limits Limits
	rest   []Piece // rest[0] is not begun in its first skip blocks
	skip   uint64
}

// NewPacker checks limits and pieces, which are multiples of the granularity.
// Pieces may overlap as far as the Packer is concerned; a Copier refuses that.
func NewPacker(limits Limits, pieces []Piece) (*Packer, error) {
	limits = limits.round()
	if !limits.Valid() || limits.SegmentBlocks > maxSegmentBlocks || limits.Segments > maxSegments {
		return nil, opError("pack", "", fmt.Errorf("%w: limits %v", ErrInvalid, limits))
	}
	for _, p := range pieces {
		if !p.valid() || p.Blocks%uint64(limits.Granularity) != 0 {
			return nil, opError("pack", "", fmt.Errorf("%w: piece %v", ErrInvalid, p))
		}
	}
	return &Packer{limits: limits, rest: pieces}, nil
}

// Next appends the segments of the next command to cmd, which is empty when there
// is none left.
func (p *Packer) Next(cmd []Piece) []Piece {
	room := uint64(p.limits.CommandBlocks)
	for len(p.rest) > 0 && room > 0 && len(cmd) < int(p.limits.Segments) {
		piece := p.rest[0].from(p.skip)
		n := min(piece.Blocks, uint64(p.limits.SegmentBlocks), room)
		cmd = append(cmd, piece.upTo(n))
		room -= n
		p.advance(n)
	}
	return cmd
}

func (p *Packer) advance(n uint64) {
	p.skip += n
	if p.skip == p.rest[0].Blocks {
		p.rest, p.skip = p.rest[1:], 0
	}
}

// Rest appends what Next has not handed out yet to dst.
func (p *Packer) Rest(dst []Piece) []Piece {
	for i, piece := range p.rest {
		if i == 0 {
			piece = piece.from(p.skip)
		}
		dst = append(dst, piece)
	}
	return dst
}
