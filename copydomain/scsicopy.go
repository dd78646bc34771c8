package copydomain

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

// scsiCopier copies between logical units of a target. It translates between the
// sectors that stacks are counted in and the logical blocks of the units.
type scsiCopier struct {
	device *scsi.Device // the destination
	copier *scsi.Copier // one for all users of the pair
	unit   remap.Sector // sectors of a block, on both sides
	opt    CopyOptions
}

func newSCSICopier(device *scsi.Device, copier *scsi.Copier, opt CopyOptions) *scsiCopier {
	return &scsiCopier{
		device: device,
		copier: copier,
		unit:   remap.Sector(device.Capacity.BlockSize / remap.SectorSize),
		opt:    opt,
	}
}

// guard is the last look at a command before it is issued.
func (c *scsiCopier) guard(segments []scsi.Piece) error {
	for _, s := range segments {
		if err := c.opt.Allowed(remap.Sector(s.DstLBA)*c.unit, remap.Sector(s.Blocks)*c.unit); err != nil {
			return err
		}
	}
	return nil
}

// Copy implements [Copier].
func (c *scsiCopier) Copy(ctx context.Context, moves []Move) (Result, error) {
	pieces := make([]scsi.Piece, 0, len(moves))
	for _, m := range moves {
		if (m.Src|m.Dst|m.Len)%c.unit != 0 {
			return Result{}, fmt.Errorf("copydomain: move of %d sectors from %d to %d does not fit blocks of %d sectors", m.Len, m.Src, m.Dst, c.unit)
		}
		pieces = append(pieces, scsi.Piece{
			SrcLBA: uint64(m.Src / c.unit),
			DstLBA: uint64(m.Dst / c.unit),
			Blocks: uint64(m.Len / c.unit),
		})
	}
	done, err := c.copier.CopyGuarded(ctx, pieces, c.guard)
	if err != nil {
		return Result{}, err
	}
	r := Result{Commands: int64(done.Commands)}
	for _, failure := range done.Redo {
		r.Redo = append(r.Redo, Redo{c.move(failure.Piece), remap.Reason(failure.Reason), failure.Err, scsiVerdict(failure.Action)})
	}
	for _, fence := range done.Fenced {
		for _, piece := range fence.Pieces {
			r.Fenced = append(r.Fenced, Redo{c.move(piece), remap.Reason(fence.Reason), fence.Err, Surface})
		}
	}
	return r, nil
}

func (c *scsiCopier) move(p scsi.Piece) Move {
	return Move{
		Src: remap.Sector(p.SrcLBA) * c.unit,
		Dst: remap.Sector(p.DstLBA) * c.unit,
		Len: remap.Sector(p.Blocks) * c.unit,
	}
}

// scsiVerdict translates what a failed EXTENDED COPY means. A device that is short
// of something, or a lost path, concerns this run only: the next window offers
// again.
func scsiVerdict(a scsi.Action) Verdict {
	switch a {
	case scsi.ActionNotSupported:
		return PairUnusable
	case scsi.ActionReresolve:
		return Reresolve
	case scsi.ActionSurface:
		return Surface
	case scsi.ActionCanceled:
		return Canceled
	}
	return CopyThroughHost
}

// Flush implements [Copier].
func (c *scsiCopier) Flush(ctx context.Context) error {
	return c.device.Flush(ctx, c.opt.Timeout)
}
