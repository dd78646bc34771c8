package target

import (
	"context"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// port is the way of an initiator in this process to a unit.
type port struct {
	target *Target
	nexus  string
	unit   int
}

// Unit is a transport to a unit, of the initiator nexus. A command without an answer comes back with [blocks.ErrTimeout]
// after its timeout, and is taken back then, as the kernel does it.
func (t *Target) Unit(nexus string, unit int) scsi.Transport { return &port{t, nexus, unit} }

// Close implements [scsi.Transport].
func (p *port) Close() error { return nil }

// defaultTimeout is that of the kernel's disk driver (drivers/scsi/sd.h, SD_TIMEOUT).
const defaultTimeout = 30 * time.Second

// driverSense is DRIVER_SENSE of include/scsi/sg.h.
const driverSense = 0x08

// Do implements [scsi.Transport].
func (p *port) Do(ctx context.Context, c *scsi.Command) (scsi.Completion, error) {
	err := ctx.Err()
	if err == nil {
		err = c.NotAfter.Check(boottime.Now())
	}
	if err != nil {
		return scsi.Completion{}, fmt.Errorf("%w: %w", blocks.ErrNotIssued, err)
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	command := &Command{Nexus: p.nexus, Unit: p.unit, CDB: c.CDB}
	out := c.CDB[0] == 0x83 || c.CDB[0] == 0x2A || c.CDB[0] == 0x8A
	if out {
		command.Out = append([]byte(nil), c.Data...)
	} else {
		command.Room = len(c.Data)
	}
	reply := p.target.Execute(inner, command)
	if reply.Lost {
		<-inner.Done()
		return scsi.Completion{}, blocks.ErrTimeout
	}
	completion := scsi.Completion{Status: reply.Status, Sense: reply.Sense, Resid: reply.Residual}
	if len(reply.Sense) > 0 {
		completion.Driver = driverSense
	}
	switch {
	case out && reply.Wanted > 0:
		completion.Resid += max(0, len(c.Data)-reply.Wanted)
	case !out:
		completion.Resid += len(c.Data) - copy(c.Data, reply.In)
	}
	return completion, nil
}
