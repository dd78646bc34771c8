package copydomain

import (
	"context"
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// nvmeCopier copies within one namespace, or from one to another. It translates
// between the sectors that stacks are counted in and the logical blocks of both.
type nvmeCopier struct {
	device *nvme.Device // the destination
	copier *nvme.Copier // one for all users of the pair
	unit   remap.Sector // sectors of a block
	opt    CopyOptions
	// able tells why the controllers cannot copy from the source any more; nil
	// within a namespace.
	able func(context.Context) (remap.Reason, error)
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
	if why, err := c.unable(ctx); why != "" {
		return refused(moves, why, err), nil
	}
	done, err := c.copier.CopyGuarded(ctx, pieces, c.guard)
	if err != nil {
		return Result{}, err
	}
	r := Result{Commands: int64(done.Commands)}
	for _, failure := range done.Redo {
		r.Redo = append(r.Redo, Redo{c.move(failure.Piece), c.reason(ctx, failure), failure.Err, verdict(failure.Action)})
	}
	for _, fence := range done.Fenced {
		for _, piece := range fence.Pieces {
			r.Fenced = append(r.Fenced, Redo{c.move(piece), remap.Reason(fence.Reason), fence.Err, Surface})
		}
	}
	return r, nil
}

// unable looks whether every controller that may get the commands still reads
// from the source and still takes the format: a path can have come, and a
// controller been reset, since the pair was found.
func (c *nvmeCopier) unable(ctx context.Context) (remap.Reason, error) {
	if c.able == nil {
		return "", nil
	}
	return c.able(ctx)
}

// refused is the result of moves that were not issued.
func refused(moves []Move, why remap.Reason, err error) Result {
	var r Result
	for _, m := range moves {
		r.Redo = append(r.Redo, Redo{m, why, err, PairUnusable})
	}
	return r
}

// reason of a failure. Invalid Field is what a controller says that has been reset
// and does not take the format any more.
func (c *nvmeCopier) reason(ctx context.Context, f nvme.Failure) remap.Reason {
	if errors.Is(f.Err, nvme.StatusInvalidField) {
		if why, _ := c.unable(ctx); why != "" {
			return why
		}
	}
	return remap.Reason(f.Reason)
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
