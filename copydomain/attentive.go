package copydomain

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// A unit attention is told once, to whoever sends the next command, and a reset shows in what becomes
// of commands. So every answer to a command of ours is looked at for what it says of the leaf, whatever
// the command was for.

// attentiveNamespace tells of what commands for a namespace meet.
type attentiveNamespace struct {
	nvme.Transport
	met func()
}

// Admin implements [nvme.Transport].
func (a *attentiveNamespace) Admin(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	return a.look(a.Transport.Admin(ctx, c))
}

// IO implements [nvme.Transport].
func (a *attentiveNamespace) IO(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	return a.look(a.Transport.IO(ctx, c))
}

func (a *attentiveNamespace) look(done nvme.Completion, err error) (nvme.Completion, error) {
	if nvme.Happened(done, err) {
		a.met()
	}
	return done, err
}

// attentiveUnit tells of what commands for a logical unit meet.
type attentiveUnit struct {
	scsi.Transport
	met func()
}

// Do implements [scsi.Transport].
func (a *attentiveUnit) Do(ctx context.Context, c *scsi.Command) (scsi.Completion, error) {
	done, err := a.Transport.Do(ctx, c)
	if scsi.Happened(done, err) {
		a.met()
	}
	return done, err
}
