package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// caches are the page caches of all devices that a copy has to do with.
type caches struct {
	*base
	touched map[remap.Dev]touched // the devices of all plans so far
	// unwritten names the devices that could not be asked to write theirs back.
	unwritten []string
}

// touched is a device of a plan.
type touched struct {
	node *remap.Node
	part machine.Part
}

func newCaches(b *base) *caches { return &caches{base: b, touched: make(map[remap.Dev]touched)} }

// drop makes what other programs wrote to any level of either stack
// visible below, and keeps the kernel from writing it back later over the copy.
func (c *caches) drop(ctx context.Context) error { return c.dropOf(ctx, machine.PartBelowSource) }

// dropStale makes what was copied visible at every level: what programs have read of
// the destination before is not what is there now, and whoever writes a byte of it
// would have the kernel write a whole page.
func (c *caches) dropStale(ctx context.Context) error {
	return failure.TooLate(c.dropOf(ctx, machine.PartBelow))
}

// dropOf drops the caches of devices that have such a part in the copy, or a greater
// one. A device that is gone by now has no cache any more.
func (c *caches) dropOf(ctx context.Context, least machine.Part) error {
	for _, t := range c.touched {
		if t.part < least {
			continue
		}
		err := c.machine.DropCaches(ctx, t.node, t.part)
		if errors.Is(err, fs.ErrPermission) && c.job.Dst.File != nil {
			// Whoever may read a device need not be allowed to do more.
			c.leave(t.node.DisplayName(), err)
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return failure.Refuse(t.node.DisplayName(), "has a page cache that this process may not write back (%v)", "run as root with CAP_SYS_ADMIN: outside of the container, or give it that capability", failure.Errno(err))
		}
		if failure.TooManyFiles(err) {
			return failure.RefuseTooManyFiles("the page cache of "+t.node.DisplayName(), err)
		}
		if err != nil && !vanished(err) {
			return c.unwrittenBack(t, err)
		}
	}
	return nil
}

// unwrittenBack says whose page cache it is that could not be written back: what the source lacks, the
// copy would lack.
func (c *caches) unwrittenBack(t touched, err error) error {
	name := t.node.DisplayName()
	switch {
	case t.part >= machine.PartBelow:
		return fmt.Errorf("the page cache of %s: %w", name, err)
	case t.node.Dev == c.job.Src.Dev:
		name = c.job.Src.Name
	}
	return ends.RefuseUnwritten(name, err)
}

// leave notes a device whose cache stays as it is.
func (c *caches) leave(device string, err error) {
	if slices.Contains(c.unwritten, device) {
		return
	}
	c.unwritten = append(c.unwritten, device)
	c.log.Debug("page cache not written back", "device", device, "error", err)
}

func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV)
}

// touch notes the devices of a plan. What was once written below stays so. The kernel keeps
// the cache of a file right.
func (c *caches) touch(p *plan.Plan) {
	if p.Layout == nil {
		return
	}
	for _, n := range p.Layout.Nodes() {
		part := c.touched[n.Dev].part
		if n.Dev == c.job.Src.Dev {
			part = max(part, machine.PartSource)
		}
		c.touched[n.Dev] = touched{n, part}
	}
	if c.job.Dst.File != nil {
		return
	}
	for _, n := range p.Layout.Under(c.job.Dst.Dev) {
		part := machine.PartBelow
		if n.Dev == c.job.Dst.Dev {
			part = machine.PartDestination
		}
		c.touched[n.Dev] = touched{n, max(part, c.touched[n.Dev].part)}
	}
}
