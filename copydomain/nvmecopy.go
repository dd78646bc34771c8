package copydomain

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// nvmeCopier copies within one namespace. It translates between the sectors
// that stacks are counted in and the logical blocks of the namespace.
type nvmeCopier struct {
	device *nvme.Device
	copier *nvme.Copier // one for all users of the namespace: it knows its fences
	unit   remap.Sector // sectors of a block
	opt    CopyOptions
}

func newNVMeCopier(device *nvme.Device, copier *nvme.Copier, opt CopyOptions) *nvmeCopier {
	return &nvmeCopier{
		device: device,
		copier: copier,
		unit:   remap.Sector(device.Namespace.BlockSize / remap.SectorSize),
		opt:    opt,
	}
}

// guard is the last look at a command before it is issued.
func (c *nvmeCopier) guard(cmd *nvme.CopyCommand) error {
	return c.opt.Allowed(remap.Sector(cmd.DstLBA)*c.unit, remap.Sector(cmd.Blocks())*c.unit)
}

// Copy implements [Copier].
func (c *nvmeCopier) Copy(ctx context.Context, moves []Move) (Result, error) {
	pieces := make([]nvme.Piece, 0, len(moves))
	for _, m := range moves {
		if (m.Src|m.Dst|m.Len)%c.unit != 0 {
			return Result{}, fmt.Errorf("copydomain: move of %d sectors from %d to %d does not fit blocks of %d sectors", m.Len, m.Src, m.Dst, c.unit)
		}
		pieces = append(pieces, nvme.Piece{
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
		r.Redo = append(r.Redo, Redo{c.move(failure.Piece), remap.Reason(failure.Reason), failure.Err, verdict(failure.Action)})
	}
	for _, fence := range done.Fenced {
		for _, piece := range fence.Pieces {
			r.Fenced = append(r.Fenced, Redo{c.move(piece), remap.Reason(fence.Reason), fence.Err, Surface})
		}
	}
	return r, nil
}

func (c *nvmeCopier) move(p nvme.Piece) Move {
	return Move{
		Src: remap.Sector(p.SrcLBA) * c.unit,
		Dst: remap.Sector(p.DstLBA) * c.unit,
		Len: remap.Sector(p.Blocks) * c.unit,
	}
}

// verdict translates what a failed NVMe command means. A device that is short
// of something, or a lost path, concerns this run only: the next window offers
// again.
func verdict(a nvme.Action) Verdict {
	switch a {
	case nvme.ActionNotSupported, nvme.ActionRefreshLimits:
		return PairUnusable
	case nvme.ActionReresolve:
		return Reresolve
	case nvme.ActionSurface:
		return Surface
	case nvme.ActionCanceled:
		return Canceled
	}
	return CopyThroughHost
}

// Flush implements [Copier]. The command reaches the cache of the device even
// where an administrator told the kernel that there is none
// (queue/write_cache), in which case fsync would send nothing.
func (c *nvmeCopier) Flush(ctx context.Context) error {
	completion, err := c.device.Transport.IO(ctx, &nvme.Command{Opcode: nvme.OpFlush, NSID: c.device.NSID, Timeout: c.opt.Timeout})
	if err != nil {
		return err
	}
	if completion.Status.Code() != nvme.StatusSuccess {
		return completion.Status
	}
	return nil
}
