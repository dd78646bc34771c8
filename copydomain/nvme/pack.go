package nvme

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// Piece is one run of blocks to copy inside a namespace.
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

// SortByDestination orders pieces so that those which meet in the destination
// become neighbours. It turns the interleaved pieces of two striped volumes into
// long runs, and is worth it whenever the order does not matter.
func SortByDestination(pieces []Piece) {
	slices.SortFunc(pieces, func(a, b Piece) int { return cmp.Compare(a.DstLBA, b.DstLBA) })
}

// Packer cuts pieces into Copy commands. Between two commands nothing is merged
// or reordered: the commands follow the order of the pieces.
//
// A command runs on as long as the next piece begins where the last one ended in
// the destination. Within such a run every command takes the longest prefix that
// the limits allow, which makes their number minimal: a prefix of what is left
// never needs more ranges than the same blocks needed from an earlier start.
//
// The Packer reads the slice as it goes and does not change it.
type Packer struct {
	limits Limits
	rest   []Piece // rest[0] is not begun in its first skip blocks
	skip   uint64
}

// NewPacker checks limits and pieces. Pieces may overlap as far as the Packer is
// concerned; a Copier refuses that.
func NewPacker(limits Limits, pieces []Piece) (*Packer, error) {
	if !limits.Valid() {
		return nil, opError("pack", "", fmt.Errorf("%w: limits %v", ErrInvalid, limits))
	}
	limits = limits.Min(Limits{RangeBlocks: MaxRangeBlocks, CommandBlocks: limits.CommandBlocks, Ranges: MaxRanges})
	for _, p := range pieces {
		if !p.valid() {
			return nil, opError("pack", "", fmt.Errorf("%w: piece %v", ErrInvalid, p))
		}
	}
	return &Packer{limits: limits, rest: pieces}, nil
}

// Next fills cmd with the next command and says whether there was one. The slice
// in cmd.Ranges is used again, so with one cmd for all calls nothing is allocated
// in the long run.
func (p *Packer) Next(cmd *CopyCommand) bool {
	cmd.Ranges = cmd.Ranges[:0]
	if len(p.rest) == 0 {
		return false
	}
	first := p.rest[0].from(p.skip)
	cmd.DstLBA = first.DstLBA
	next := first.DstLBA // where the next piece has to begin
	room := uint64(p.limits.CommandBlocks)
	for room > 0 && len(p.rest) > 0 {
		piece := p.rest[0].from(p.skip)
		if piece.DstLBA != next {
			break
		}
		n := p.take(cmd, piece, room)
		if n == 0 {
			break
		}
		room -= n
		next += n
		p.advance(n)
	}
	return true
}

// take adds as much of piece to cmd as one range can hold, either to the last
// range, if the piece continues it, or as a new one. It returns the blocks taken.
func (p *Packer) take(cmd *CopyCommand, piece Piece, room uint64) uint64 {
	n := min(piece.Blocks, room)
	limit := uint64(p.limits.RangeBlocks)
	if k := len(cmd.Ranges); k > 0 {
		last := &cmd.Ranges[k-1]
		if free := limit - uint64(last.Blocks); free > 0 && last.SrcLBA+uint64(last.Blocks) == piece.SrcLBA {
			n = min(n, free)
			last.Blocks += uint32(n)
			return n
		}
	}
	if len(cmd.Ranges) == int(p.limits.Ranges) {
		return 0
	}
	n = min(n, limit)
	cmd.Ranges = append(cmd.Ranges, Range{SrcLBA: piece.SrcLBA, Blocks: uint32(n)})
	return n
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

// All yields the remaining commands. The command and its ranges are valid until
// the next one.
func (p *Packer) All() iter.Seq[*CopyCommand] {
	return func(yield func(*CopyCommand) bool) {
		var cmd CopyCommand
		for p.Next(&cmd) {
			if !yield(&cmd) {
				return
			}
		}
	}
}
