package nvme

import (
	"fmt"
	"iter"
	"math"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

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
	left   *blocks.Queue
	// zone is the size of the zones of the namespace, in blocks, or 0. No command
	// writes, and no range reads, across their boundaries.
	zone uint64
}

// NewPacker checks limits and pieces. Pieces may overlap as far as the Packer is
// concerned; a Copier refuses that.
func NewPacker(limits Limits, pieces []blocks.Piece) (*Packer, error) {
	left, err := blocks.NewQueue(pieces)
	if err != nil {
		return nil, opError("pack", "", err)
	}
	return packerOf(limits, left)
}

func packerOf(limits Limits, left *blocks.Queue) (*Packer, error) {
	if !limits.Valid() {
		return nil, opError("pack", "", fmt.Errorf("%w: limits %v", blocks.ErrInvalid, limits))
	}
	limits = limits.Min(Limits{RangeBlocks: MaxRangeBlocks, CommandBlocks: limits.CommandBlocks, Ranges: MaxRanges})
	return &Packer{limits: limits, left: left}, nil
}

// Next fills cmd with the next command and says whether there was one. The slice
// in cmd.Ranges is used again, so with one cmd for all calls nothing is allocated
// in the long run.
func (p *Packer) Next(cmd *CopyCommand) bool {
	cmd.Ranges = cmd.Ranges[:0]
	if p.left.Empty() {
		return false
	}
	cmd.DstLBA = p.left.Front().DstLBA
	next := cmd.DstLBA // where the next piece has to begin
	room := min(uint64(p.limits.CommandBlocks), p.toBoundary(next))
	for room > 0 && !p.left.Empty() {
		piece := p.left.Front()
		if piece.DstLBA != next {
			break
		}
		n := p.take(cmd, piece, room)
		if n == 0 {
			break
		}
		room -= n
		next += n
		p.left.Take(n)
	}
	return true
}

// take adds as much of piece to cmd as one range can hold, either to the last
// range, if the piece continues it, or as a new one. It returns the blocks taken.
func (p *Packer) take(cmd *CopyCommand, piece blocks.Piece, room uint64) uint64 {
	n := min(piece.Blocks, room, p.toBoundary(piece.SrcLBA))
	limit := uint64(p.limits.RangeBlocks)
	if k := len(cmd.Ranges); k > 0 {
		last := &cmd.Ranges[k-1]
		if free := limit - uint64(last.Blocks); free > 0 && last.SrcLBA+uint64(last.Blocks) == piece.SrcLBA && !p.atBoundary(piece.SrcLBA) {
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

// toBoundary is how many blocks there are from lba to the next zone.
func (p *Packer) toBoundary(lba uint64) uint64 {
	if p.zone == 0 {
		return math.MaxUint64
	}
	return p.zone - lba%p.zone
}

func (p *Packer) atBoundary(lba uint64) bool { return p.zone > 0 && lba%p.zone == 0 }

// Rest appends what Next has not handed out yet to dst.
func (p *Packer) Rest(dst []blocks.Piece) []blocks.Piece { return p.left.Rest(dst) }

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
