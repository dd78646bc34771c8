package target

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// extendedCopy hands EXTENDED COPY and what belongs to it on to the other target.
func (t *Target) extendedCopy(ctx context.Context, u *unit, c *Command, _ Fault) Reply {
	if t.xcopy == nil {
		return refuse(invalidOpcode)
	}
	command := scsi.Command{CDB: c.CDB, Data: c.Out}
	if c.CDB[0] == 0x84 {
		command.Data = make([]byte, c.Room)
	}
	completion, err := t.xcopy.Unit(u.number).Do(ctx, &command)
	if err != nil { // a form that it does not know
		return refuse(invalidCDB)
	}
	reply := Reply{Status: completion.Status, Sense: completion.Sense}
	if s, err := scsi.ParseSense(completion.Sense); err == nil {
		reply.code = s.SenseCode
	}
	if c.CDB[0] == 0x84 && reply.Status == scsi.Good {
		reply.In = command.Data[:len(command.Data)-completion.Resid]
	}
	return reply
}
