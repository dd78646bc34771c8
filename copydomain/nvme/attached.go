package nvme

import (
	"context"
	"errors"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Attached says whether a controller that may execute commands to dst can read
// src, and would read the namespace that is meant: a namespace ID is unique in a
// subsystem only for namespaces that controllers share. What Identify through
// this controller says of either has to be what was found out before.
func Attached(ctx context.Context, controller Transport, src, dst *Device) (blocks.Support, error) {
	b, err := identify(ctx, controller, cnsController, 0)
	if err != nil {
		return blocks.Support{}, err
	}
	c, err := ParseController(b)
	if err != nil {
		return blocks.Support{}, err
	}
	switch {
	case c.SubNQN != dst.Controller.SubNQN:
		return blocks.Unsupported(reasonSubsystem, "a controller of the subsystem %q", c.SubNQN), nil
	case !c.Copy || !c.CopyFormats.Has(Format2):
		return blocks.Unsupported(reasonFormat2, "controller %d does not know descriptor format 2", c.CNTLID), nil
	}
	for _, d := range []*Device{src, dst} {
		now, err := readNamespace(ctx, controller, d.NSID)
		switch status := Status(0); {
		case errors.Is(err, ErrInactive) || errors.As(err, &status):
			return blocks.Unsupported(reasonNotReachable, "controller %d does not reach namespace %d: %v", c.CNTLID, d.NSID, err), nil
		case err != nil:
			return blocks.Support{}, err
		case !d.Namespace.same(now):
			return blocks.Unsupported(reasonNotReachable, "controller %d has another namespace with the ID %d", c.CNTLID, d.NSID), nil
		}
	}
	return blocks.Support{Able: blocks.Yes}, nil
}
