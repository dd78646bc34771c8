package copydomain

import (
	"context"
	"errors"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// nvmeCopier copies within one namespace, or from one to another. It translates
// between the sectors that stacks are counted in and the logical blocks of both.
type nvmeCopier struct {
	device *nvme.Device // the destination
	copier *nvme.Copier // one for all users of the pair
	unit   remap.Sector // sectors of a block
	opt    CopyOptions
	leave  func() // the budget of the subsystem
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
	batch, err := pieces(moves, c.unit)
	if err != nil {
		return Result{}, err
	}
	if why, err := c.unable(ctx); why != "" {
		return refused(moves, why, err), nil
	}
	done, err := c.copier.CopyGuarded(ctx, batch, c.opt.NotAfter, c.guard)
	if err != nil {
		return Result{}, err
	}
	return result(done, c.unit, func(f blocks.Failure) remap.Reason { return c.reason(ctx, f) }), nil
}

// unable looks whether every controller that may get the commands still reads
// from the source and still takes the format: a path can have come, and a
// controller been reset, since the pair was found.
func (c *nvmeCopier) unable(ctx context.Context) (remap.Reason, error) {
	if c.able == nil {
		return "", nil
	}
	why, err := c.able(ctx)
	if ctx.Err() != nil {
		return "", nil // it was not found out, and nothing is issued any more
	}
	return why, err
}

// refused is the result of moves that were not issued.
func refused(moves []Move, why remap.Reason, err error) Result {
	var r Result
	for _, m := range moves {
		r.Redo = append(r.Redo, Redo{m, why, err, ActionNotSupported})
	}
	return r
}

// reason of a failure. Invalid Field is what a controller says that has been reset
// and does not take the format any more.
func (c *nvmeCopier) reason(ctx context.Context, f blocks.Failure) remap.Reason {
	if errors.Is(f.Err, nvme.StatusInvalidField) {
		if why, _ := c.unable(ctx); why != "" {
			return why
		}
	}
	return remap.Reason(f.Reason)
}

// Close implements [Copier].
func (c *nvmeCopier) Close() error { c.leave(); return nil }

// Flush implements [Copier]. The command reaches the cache of the device even
// where an administrator told the kernel that there is none
// (queue/write_cache), in which case fsync would send nothing.
func (c *nvmeCopier) Flush(ctx context.Context) error {
	return c.device.Flush(ctx, c.opt.Timeout)
}
