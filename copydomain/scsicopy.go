package copydomain

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// scsiCopier copies between logical units of a target. It translates between the
// sectors that stacks are counted in and the logical blocks of the units.
type scsiCopier struct {
	device *scsi.Device // the destination
	copier unitCopier   // one for all users of the pair
	unit   remap.Sector // sectors of a block, on both sides
	opt    CopyOptions
	leave  func() // the budget of the target
}

func newSCSICopier(device *scsi.Device, copier unitCopier, opt CopyOptions) *scsiCopier {
	return &scsiCopier{
		device: device,
		copier: copier,
		unit:   remap.Sector(device.Capacity.BlockSize / remap.SectorSize),
		opt:    opt,
	}
}

// guard is the last look at a command before it is issued.
func (c *scsiCopier) guard(segments []blocks.Piece) error {
	for _, s := range segments {
		if err := c.opt.Allowed(remap.Sector(s.DstLBA)*c.unit, remap.Sector(s.Blocks)*c.unit); err != nil {
			return err
		}
	}
	return nil
}

// Copy implements [Copier].
func (c *scsiCopier) Copy(ctx context.Context, moves []Move) (Result, error) {
	batch, err := pieces(moves, c.unit)
	if err != nil {
		return Result{}, err
	}
	done, err := c.copier.CopyGuarded(ctx, batch, c.opt.NotAfter, c.guard)
	if err != nil {
		return Result{}, err
	}
	return result(done, c.unit, func(f blocks.Failure) remap.Reason { return remap.Reason(f.Reason) }), nil
}

// Close implements [Copier].
func (c *scsiCopier) Close() error { c.leave(); return nil }

// Flush implements [Copier].
func (c *scsiCopier) Flush(ctx context.Context) error {
	return c.device.Flush(ctx, c.opt.Timeout)
}
