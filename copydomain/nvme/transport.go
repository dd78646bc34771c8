package nvme

import (
	"context"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Opcode of an admin or I/O command. The two number spaces overlap.
type Opcode uint8

// Admin commands that this package sends.
const (
	OpGetLogPage  Opcode = 0x02
	OpIdentify    Opcode = 0x06
	OpSetFeatures Opcode = 0x09 // Host Behavior Support only, and only if allowed
	OpGetFeatures Opcode = 0x0A // Host Behavior Support only
)

// I/O commands that this package sends.
const (
	OpFlush Opcode = 0x00
	OpCopy  Opcode = 0x19
	// OpZoneReceive asks a zoned namespace for its zones.
	OpZoneReceive Opcode = 0x7A
)

// Command is a submission queue entry as far as the host fills it in; the
// kernel adds the command identifier and the data pointer.
type Command struct {
	Opcode                                   Opcode
	NSID                                     uint32
	CDW2, CDW3                               uint32
	CDW10, CDW11, CDW12, CDW13, CDW14, CDW15 uint32

	// Data is sent to or filled by the controller, as bits 1:0 of the
	// opcode say. It belongs to the transport until the call returns, and
	// to the device for as long as the fate of the command is unknown.
	Data []byte

	// NotAfter is the moment after which the command is not begun any more.
	NotAfter boottime.Limit

	// Timeout after which the kernel aborts the command. Zero is the default
	// of the driver (nvme_core.io_timeout or admin_timeout).
	Timeout time.Duration
}

// Completion is what the controller answered.
type Completion struct {
	Status Status
	Result uint64 // DW0 in the low, DW1 in the high half
}

// DW0 is the command specific part of the completion.
func (c Completion) DW0() uint32 { return uint32(c.Result) }

// Transport sends commands to one controller. It is safe for concurrent use.
//
// A status other than success is not an error: it comes in the completion. An
// error means that there is no completion. If it wraps [blocks.ErrNotIssued] the device
// has not seen the command, otherwise the command may still be running.
//
// A command that was handed to the kernel cannot be called back, so ctx is
// looked at only before, and so is Command.NotAfter, as the very last: what it keeps is
// not issued, with [boottime.ErrPassed]. A call may block for longer than Command.Timeout.
type Transport interface {
	Admin(ctx context.Context, c *Command) (Completion, error)
	IO(ctx context.Context, c *Command) (Completion, error)
	Close() error
}

// A BehaviorSetter is a Transport that can be told to let Set Features pass, for
// Host Behavior Support and nothing else. Without being told, it lets none pass.
type BehaviorSetter interface {
	Transport
	AllowSetBehavior()
}

// checkAdmin and checkIO are the last assertion before a command leaves: nothing
// but the few commands that this package needs ever reaches a device. maySet is
// what AllowSetBehavior has allowed.
func checkAdmin(c *Command, maySet bool) error {
	switch c.Opcode {
	case OpIdentify, OpGetLogPage:
		if len(c.Data) == 0 {
			return fmt.Errorf("%w: admin opcode %#02x without a buffer", blocks.ErrInvalid, uint8(c.Opcode))
		}
		return nil
	case OpGetFeatures:
		return checkBehavior(c)
	case OpSetFeatures:
		if maySet {
			return checkBehavior(c)
		}
	}
	return fmt.Errorf("%w: admin opcode %#02x", blocks.ErrNotAllowed, uint8(c.Opcode))
}

func checkIO(c *Command) error {
	switch c.Opcode {
	case OpFlush:
		if len(c.Data) != 0 {
			return fmt.Errorf("%w: flush with data", blocks.ErrInvalid)
		}
		return nil
	case OpCopy:
		return checkCopy(c)
	case OpZoneReceive:
		return checkZoneReceive(c)
	}
	return fmt.Errorf("%w: I/O opcode %#02x", blocks.ErrNotAllowed, uint8(c.Opcode))
}

// zonePartial is bit 16 of command dword 13: the number of zones in a report is that of
// the descriptors that it holds.
const zonePartial = 1 << 16

// checkZoneReceive asserts that the command is Report Zones (ZRA 0) of all zones (ZRASF 0).
func checkZoneReceive(c *Command) error {
	switch {
	case c.CDW13 != zonePartial || c.CDW2|c.CDW3|c.CDW14|c.CDW15 != 0:
		return fmt.Errorf("%w: zone management receive with action %#x", blocks.ErrNotAllowed, c.CDW13)
	case len(c.Data) < zoneHeaderSize || len(c.Data)%4 != 0 || c.CDW12 != uint32(len(c.Data)/4-1):
		return fmt.Errorf("%w: zone management receive of %d dwords with %d bytes", blocks.ErrInvalid, c.CDW12, len(c.Data))
	}
	return nil
}
