package scsi

import (
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// split cuts off the end of each piece that does not fill the granularity.
func split(pieces []blocks.Piece, granularity uint32) (whole, slivers []blocks.Piece) {
	for _, p := range pieces {
		n := p.Blocks / uint64(granularity) * uint64(granularity)
		if n > 0 {
			whole = append(whole, p.UpTo(n))
		}
		if n < p.Blocks {
			slivers = append(slivers, p.From(n))
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
	left   *blocks.Queue
}

// NewPacker checks limits and pieces, which are multiples of the granularity.
// Pieces may overlap as far as the Packer is concerned; a Copier refuses that.
func NewPacker(limits Limits, pieces []blocks.Piece) (*Packer, error) {
	left, err := blocks.NewQueue(pieces)
	if err != nil {
		return nil, opError("pack", "", err)
	}
	return packerOf(limits, left)
}

func packerOf(limits Limits, left *blocks.Queue) (*Packer, error) {
	limits = limits.round()
	if !limits.Valid() || limits.SegmentBlocks > maxSegmentBlocks || limits.Segments > maxSegments {
		return nil, opError("pack", "", fmt.Errorf("%w: limits %v", blocks.ErrInvalid, limits))
	}
	for _, p := range left.Rest(nil) {
		if p.Blocks%uint64(limits.Granularity) != 0 {
			return nil, opError("pack", "", fmt.Errorf("%w: piece %v", blocks.ErrInvalid, p))
		}
	}
	return &Packer{limits: limits, left: left}, nil
}

// Next appends the segments of the next command to cmd, which is empty when there
// is none left.
func (p *Packer) Next(cmd []blocks.Piece) []blocks.Piece {
	room := uint64(p.limits.CommandBlocks)
	for !p.left.Empty() && room > 0 && len(cmd) < int(p.limits.Segments) {
		piece := p.left.Front()
		n := min(piece.Blocks, uint64(p.limits.SegmentBlocks), room)
		cmd = append(cmd, piece.UpTo(n))
		room -= n
		p.left.Take(n)
	}
	return cmd
}

// Rest appends what Next has not handed out yet to dst.
func (p *Packer) Rest(dst []blocks.Piece) []blocks.Piece { return p.left.Rest(dst) }
