package scsi

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Command is one SCSI command.
type Command struct {
	CDB []byte

	// Data is sent to or filled by the device, as the opcode says. It
	// belongs to the transport until the call returns, and to the device for
	// as long as the fate of the command is unknown.
	Data []byte

	// NotAfter is the moment after which the command is not begun any more.
	NotAfter boottime.Limit

	// Timeout after which the kernel aborts the command. Zero is the default
	// of the kernel.
	Timeout time.Duration
}

// Opcode is the first byte of the CDB.
func (c *Command) Opcode() Opcode { return Opcode(c.CDB[0]) }

// toDevice: the data go out. Every other command with data receives some.
func (c *Command) toDevice() bool { return c.Opcode() == OpThirdPartyOut }

// writes: the command changes what the medium holds.
func (c *Command) writes() bool {
	switch c.Opcode() {
	case OpThirdPartyOut, OpSynchronizeCache10, OpSynchronizeCache16:
		return true
	}
	return false
}

// Completion is how a command ended, as far as anybody knows.
type Completion struct {
	Status Status
	Sense  []byte // as the device sent it, empty if it sent none

	// Host and Driver are what the adapter and the kernel add (host_status
	// and driver_status of struct sg_io_hdr). With anything but zero in Host
	// the status is not that of the device.
	Host   uint16
	Driver uint16

	// Resid is the number of bytes of Data that were not transferred.
	Resid int
}

// Transport sends commands to one logical unit. It is safe for concurrent use.
//
// A status other than GOOD is not an error: it comes in the completion. An error
// means that there is no completion. If it wraps [blocks.ErrNotIssued] the device has not
// seen the command, otherwise the command may still be running.
//
// A command that was handed to the kernel cannot be called back, so ctx is looked
// at only before, and so is Command.NotAfter, as the very last: what it keeps is not
// issued, with [boottime.ErrPassed]. A call may block for longer than Command.Timeout.
type Transport interface {
	Do(ctx context.Context, c *Command) (Completion, error)
	Close() error
}

// check is the last assertion before a command leaves: nothing but the few
// commands that this package needs, in the form that it gives them, ever reaches
// a device.
func check(c *Command) error {
	if len(c.CDB) == 0 {
		return fmt.Errorf("%w: empty command", blocks.ErrInvalid)
	}
	form, ok := forms[c.Opcode()]
	if !ok {
		return fmt.Errorf("%w: opcode %02xh", blocks.ErrNotAllowed, c.CDB[0])
	}
	if len(c.CDB) != form.length {
		return fmt.Errorf("%w: opcode %02xh in %d bytes", blocks.ErrInvalid, c.CDB[0], len(c.CDB))
	}
	return form.check(c)
}

type commandForm struct {
	length int
	check  func(*Command) error
}

// forms are the commands that leave.
var forms = map[Opcode]commandForm{
	OpTestUnitReady:      {6, checkPlain},
	OpSynchronizeCache10: {10, checkPlain},
	OpSynchronizeCache16: {16, checkPlain},
	OpInquiry:            {6, checkInquiry},
	OpReadCapacity10:     {10, checkCapacity10},
	OpServiceActionIn16:  {16, checkCapacity16},
	OpThirdPartyIn:       {16, checkReceive},
	OpThirdPartyOut:      {16, checkThirdParty},
}

// checkPlain: nothing but the opcode. For SYNCHRONIZE CACHE that means all blocks.
func checkPlain(c *Command) error {
	if len(c.Data) != 0 || !zero(c.CDB[1:]) {
		return fmt.Errorf("%w: opcode %02xh with fields or data", blocks.ErrNotAllowed, c.CDB[0])
	}
	return nil
}

func checkInquiry(c *Command) error {
	evpd, page := c.CDB[1], c.CDB[2]
	if evpd > 1 || evpd == 0 && page != 0 || c.CDB[5] != 0 {
		return fmt.Errorf("%w: INQUIRY % x", blocks.ErrNotAllowed, c.CDB)
	}
	return checkAllocation(c, uint32(binary.BigEndian.Uint16(c.CDB[3:])))
}

func checkCapacity10(c *Command) error {
	if !zero(c.CDB[1:]) || len(c.Data) != allocationCapacity10 {
		return fmt.Errorf("%w: READ CAPACITY(10) % x", blocks.ErrNotAllowed, c.CDB)
	}
	return nil
}

func checkCapacity16(c *Command) error {
	if c.CDB[1] != saReadCapacity16 || !zero(c.CDB[2:10]) || !zero(c.CDB[14:]) {
		return fmt.Errorf("%w: SERVICE ACTION IN(16) % x", blocks.ErrNotAllowed, c.CDB)
	}
	return checkAllocation(c, binary.BigEndian.Uint32(c.CDB[10:]))
}

func checkReceive(c *Command) error {
	var free []byte // where the list identifier is not
	switch c.CDB[1] {
	case saReceiveParameters:
		free = c.CDB[2:10]
	case saReceiveStatusLID1:
		free = c.CDB[3:10]
	case saReceiveStatusLID4, saReceiveToken:
		free = c.CDB[6:10]
	}
	if free == nil || !zero(free) || !zero(c.CDB[14:]) {
		return fmt.Errorf("%w: RECEIVE COPY % x", blocks.ErrNotAllowed, c.CDB)
	}
	return checkAllocation(c, binary.BigEndian.Uint32(c.CDB[10:]))
}

func checkThirdParty(c *Command) error {
	if ok, err := checkTokenOut(c); ok {
		return err
	}
	return checkCopy(c)
}

// checkCopy asserts that an EXTENDED COPY is of the form that Encode makes, and
// that what the parameter list says of its length is true.
func checkCopy(c *Command) error {
	if c.CDB[1] > saExtendedCopyLID4 || !zero(c.CDB[2:10]) || !zero(c.CDB[14:]) {
		return fmt.Errorf("%w: THIRD-PARTY COPY OUT % x", blocks.ErrNotAllowed, c.CDB)
	}
	if n := binary.BigEndian.Uint32(c.CDB[10:]); n == 0 || int64(n) != int64(len(c.Data)) {
		return fmt.Errorf("%w: parameter list of %d bytes in %d", blocks.ErrInvalid, n, len(c.Data))
	}
	list, err := DecodeList(Form(c.CDB[1]), c.Data)
	if err != nil {
		return err
	}
	return list.valid()
}

func checkAllocation(c *Command, length uint32) error {
	if length == 0 || int64(length) != int64(len(c.Data)) {
		return fmt.Errorf("%w: allocation of %d bytes in %d", blocks.ErrInvalid, length, len(c.Data))
	}
	return nil
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
