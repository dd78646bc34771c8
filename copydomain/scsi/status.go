package scsi

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Status is the status byte of a command. SAM-5, 5.3.
type Status uint8

// Statuses.
const (
	Good                Status = 0x00
	CheckCondition      Status = 0x02
	ConditionMet        Status = 0x04
	Busy                Status = 0x08
	ReservationConflict Status = 0x18
	TaskSetFull         Status = 0x28
	ACAActive           Status = 0x30
	TaskAborted         Status = 0x40
)

var statusNames = map[Status]string{
	Good: "good", CheckCondition: "check condition", ConditionMet: "condition met", Busy: "busy",
	ReservationConflict: "reservation conflict", TaskSetFull: "task set full", ACAActive: "ACA active", TaskAborted: "task aborted",
}

func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return fmt.Sprintf("status %02xh", uint8(s))
}

// Answer is the error of a command that ended with anything but success. Two
// answers are one error (errors.Is) if status, host status and sense code agree.
type Answer struct {
	Status       Status
	Host, Driver uint16
	Sense        SenseCode
	HasSense     bool
	Deferred     bool
	Segment      int // at which a copy was aborted, -1 if not told
}

// Is makes errors.Is compare what happened.
func (a Answer) Is(target error) bool {
	t, ok := target.(Answer)
	return ok && a.Status == t.Status && a.Host == t.Host && a.HasSense == t.HasSense && a.Sense == t.Sense
}

func (a Answer) Error() string {
	var b strings.Builder
	b.WriteString(a.Status.String())
	if a.HasSense {
		fmt.Fprintf(&b, ", %v", a.Sense)
		if name, ok := senseNames[a.Sense]; ok {
			fmt.Fprintf(&b, " (%s)", name)
		}
		if a.Deferred {
			b.WriteString(" of an earlier command")
		}
	}
	if a.Segment >= 0 {
		fmt.Fprintf(&b, " at segment %d", a.Segment)
	}
	if a.Host != 0 || a.Driver != 0 {
		fmt.Fprintf(&b, ", host status %02xh, driver status %02xh", a.Host, a.Driver)
	}
	return b.String()
}

// slug names an answer for people and programs.
func (a Answer) slug() string {
	switch {
	case a.Host != 0:
		return fmt.Sprintf("device:host-0x%02x", a.Host)
	case a.HasSense:
		return fmt.Sprintf("device:sense-%x-%02x-%02x", uint8(a.Sense.Key), a.Sense.ASC, a.Sense.ASCQ)
	}
	return fmt.Sprintf("device:status-0x%02x", uint8(a.Status))
}

// driverSense is the one driver status that is not an error: there are sense data.
// include/scsi/sg.h, DRIVER_SENSE.
const driverSense = 0x08

// answer is nil for a command that succeeded.
func (c Completion) answer() (Answer, Sense, bool) {
	if c.Status == Good && c.Host == 0 && c.Driver == 0 {
		return Answer{}, Sense{}, true
	}
	a := Answer{Status: c.Status, Host: c.Host, Driver: c.Driver, Segment: -1}
	s, err := ParseSense(c.Sense)
	if err == nil {
		a.Sense, a.HasSense, a.Deferred, a.Segment = s.SenseCode, true, s.Deferred, s.Segment
	}
	return a, s, false
}

// Err is nil for a command that succeeded, else an [Answer].
func (c Completion) Err() error {
	if a, _, ok := c.answer(); !ok {
		return a
	}
	return nil
}

// statuses says what follows from each status but CHECK CONDITION. The device
// sends them all itself, so the command has ended.
var statuses = map[Status]blocks.Action{
	Good:                blocks.ActionDone,
	ConditionMet:        blocks.ActionEmulate,
	Busy:                blocks.ActionRetry,
	ReservationConflict: blocks.ActionSurface,
	TaskSetFull:         blocks.ActionRetry,
	ACAActive:           blocks.ActionBackOff,
	TaskAborted:         blocks.ActionEmulate,
}

// senseNames are additional sense codes that copies meet, as SPC-4 annex D names
// them.
var senseNames = map[SenseCode]string{
	{NotReady, 0x04, 0x0A}:       "asymmetric access state transition",
	{NotReady, 0x04, 0x0B}:       "target port in standby state",
	{NotReady, 0x04, 0x0C}:       "target port in unavailable state",
	{NotReady, 0x08, 0x00}:       "logical unit communication failure",
	{NotReady, 0x08, 0x04}:       "unreachable copy target",
	{IllegalRequest, 0x00, 0x16}: "operation in progress",
	{IllegalRequest, 0x08, 0x04}: "unreachable copy target",
	{IllegalRequest, 0x1A, 0x00}: "parameter list length error",
	{IllegalRequest, 0x20, 0x00}: "invalid command operation code",
	{IllegalRequest, 0x20, 0x02}: "access denied, no access rights",
	{IllegalRequest, 0x21, 0x00}: "logical block address out of range",
	{IllegalRequest, 0x23, 0x00}: "invalid token operation, cause not reportable",
	{IllegalRequest, 0x23, 0x01}: "invalid token operation, unsupported token type",
	{IllegalRequest, 0x23, 0x02}: "invalid token operation, remote token usage not supported",
	{IllegalRequest, 0x23, 0x03}: "invalid token operation, remote ROD token creation not supported",
	{IllegalRequest, 0x23, 0x04}: "invalid token operation, token unknown",
	{IllegalRequest, 0x23, 0x05}: "invalid token operation, token corrupt",
	{IllegalRequest, 0x23, 0x06}: "invalid token operation, token revoked",
	{IllegalRequest, 0x23, 0x07}: "invalid token operation, token expired",
	{IllegalRequest, 0x23, 0x08}: "invalid token operation, token cancelled",
	{IllegalRequest, 0x23, 0x09}: "invalid token operation, token deleted",
	{IllegalRequest, 0x23, 0x0A}: "invalid token operation, invalid token length",
	{IllegalRequest, 0x24, 0x00}: "invalid field in CDB",
	{IllegalRequest, 0x25, 0x00}: "logical unit not supported",
	{IllegalRequest, 0x26, 0x00}: "invalid field in parameter list",
	{IllegalRequest, 0x26, 0x06}: "too many target descriptors",
	{IllegalRequest, 0x26, 0x07}: "unsupported target descriptor type code",
	{IllegalRequest, 0x26, 0x08}: "too many segment descriptors",
	{IllegalRequest, 0x26, 0x09}: "unsupported segment descriptor type code",
	{IllegalRequest, 0x26, 0x0A}: "unexpected inexact segment",
	{IllegalRequest, 0x26, 0x0B}: "inline data length exceeded",
	{IllegalRequest, 0x26, 0x0C}: "invalid operation for copy source or destination",
	{IllegalRequest, 0x26, 0x0D}: "copy segment granularity violation",
	{IllegalRequest, 0x26, 0x15}: "copy source or copy destination not authorized",
	{IllegalRequest, 0x26, 0x16}: "fast copy not possible",
	{IllegalRequest, 0x55, 0x0C}: "insufficient resources to create ROD",
	{IllegalRequest, 0x55, 0x0D}: "insufficient resources to create ROD token",
	{UnitAttention, 0x2A, 0x09}:  "capacity data has changed",
	{UnitAttention, 0x3F, 0x03}:  "inquiry data has changed",
	{UnitAttention, 0x3F, 0x05}:  "device identifier changed",
	{UnitAttention, 0x3F, 0x0E}:  "reported LUNs data has changed",
	{DataProtect, 0x27, 0x00}:    "write protected",
	{DataProtect, 0x27, 0x07}:    "space allocation failed write protect",
	{CopyAborted, 0x08, 0x04}:    "unreachable copy target",
	{CopyAborted, 0x0D, 0x00}:    "error detected by third party temporary initiator",
	{CopyAborted, 0x0D, 0x01}:    "third party device failure",
	{CopyAborted, 0x0D, 0x02}:    "copy target device not reachable",
	{CopyAborted, 0x0D, 0x03}:    "incorrect copy target device type",
	{CopyAborted, 0x0D, 0x04}:    "copy target device data underrun",
	{CopyAborted, 0x0D, 0x05}:    "copy target device data overrun",
}

// senses says what follows from each sense code that means more than its key.
var senses = map[SenseCode]blocks.Action{
	{NotReady, 0x04, 0x0A}: blocks.ActionRetryPath,
	{NotReady, 0x04, 0x0B}: blocks.ActionRetryPath,
	{NotReady, 0x04, 0x0C}: blocks.ActionRetryPath,
	// Linux says that of units with different blocks; it does not pass.
	{NotReady, 0x08, 0x00}: blocks.ActionNotSupported,
	{NotReady, 0x08, 0x04}: blocks.ActionNotSupported,

	{IllegalRequest, 0x00, 0x16}: blocks.ActionNextID,
	{IllegalRequest, 0x08, 0x04}: blocks.ActionNotSupported,
	{IllegalRequest, 0x1A, 0x00}: blocks.ActionShrink,
	{IllegalRequest, 0x20, 0x00}: blocks.ActionNotSupported,
	{IllegalRequest, 0x20, 0x02}: blocks.ActionSurface,
	{IllegalRequest, 0x21, 0x00}: blocks.ActionReresolve,
	// A token that has ended says nothing of the next one.
	{IllegalRequest, 0x23, 0x00}: blocks.ActionEmulate,
	{IllegalRequest, 0x23, 0x04}: blocks.ActionEmulate,
	{IllegalRequest, 0x23, 0x05}: blocks.ActionEmulate,
	{IllegalRequest, 0x23, 0x06}: blocks.ActionEmulate,
	{IllegalRequest, 0x23, 0x07}: blocks.ActionEmulate,
	{IllegalRequest, 0x23, 0x08}: blocks.ActionEmulate,
	{IllegalRequest, 0x23, 0x09}: blocks.ActionEmulate,
	{IllegalRequest, 0x24, 0x00}: blocks.ActionShrink,
	{IllegalRequest, 0x25, 0x00}: blocks.ActionReresolve,
	{IllegalRequest, 0x26, 0x00}: blocks.ActionShrink,
	{IllegalRequest, 0x26, 0x06}: blocks.ActionNotSupported,
	{IllegalRequest, 0x26, 0x07}: blocks.ActionNotSupported,
	{IllegalRequest, 0x26, 0x08}: blocks.ActionShrink,
	{IllegalRequest, 0x26, 0x09}: blocks.ActionNotSupported,
	{IllegalRequest, 0x26, 0x0A}: blocks.ActionEmulate,
	{IllegalRequest, 0x26, 0x0B}: blocks.ActionEmulate,
	{IllegalRequest, 0x26, 0x0C}: blocks.ActionEmulate,
	{IllegalRequest, 0x26, 0x0D}: blocks.ActionEmulate,
	{IllegalRequest, 0x26, 0x15}: blocks.ActionSurface,
	{IllegalRequest, 0x26, 0x16}: blocks.ActionEmulate,
	{IllegalRequest, 0x55, 0x0C}: blocks.ActionBackOff,
	{IllegalRequest, 0x55, 0x0D}: blocks.ActionBackOff,

	{UnitAttention, 0x2A, 0x09}: blocks.ActionReresolve,
	{UnitAttention, 0x3F, 0x03}: blocks.ActionReresolve,
	{UnitAttention, 0x3F, 0x05}: blocks.ActionReresolve,

	// No room in the pool below: the host's own write finds out.
	{DataProtect, 0x27, 0x07}: blocks.ActionEmulate,

	{CopyAborted, 0x0D, 0x03}: blocks.ActionNotSupported,
}

// senseKeys says what follows from every other code.
var senseKeys = [16]blocks.Action{
	NoSense:        blocks.ActionEmulate,
	RecoveredError: blocks.ActionEmulate,
	NotReady:       blocks.ActionBackOff,
	MediumError:    blocks.ActionEmulate, // the host's own read or write finds out which block it was
	HardwareError:  blocks.ActionEmulate,
	IllegalRequest: blocks.ActionNotSupported,
	UnitAttention:  blocks.ActionRecheck,
	DataProtect:    blocks.ActionSurface,
	0x8:            blocks.ActionEmulate, // BLANK CHECK
	0x9:            blocks.ActionEmulate, // vendor specific
	CopyAborted:    blocks.ActionEmulate,
	AbortedCommand: blocks.ActionEmulate,
	0xC:            blocks.ActionEmulate, // reserved
	0xD:            blocks.ActionEmulate, // VOLUME OVERFLOW
	0xE:            blocks.ActionEmulate, // MISCOMPARE
	0xF:            blocks.ActionEmulate, // COMPLETED
}

// Judge says what to make of the answer to an EXTENDED COPY, or to a command of a
// token copy.
//
// Whatever the device reports has ended the command. What the host reports, or
// nobody defines, has not for sure: after a timeout the kernel aborts the command,
// but a driver may well have failed to.
func Judge(c Completion, err error) blocks.Outcome {
	if err != nil {
		return blocks.Unanswered(err, notIssued)
	}
	a, sense, good := c.answer()
	if good && c.Resid == 0 {
		return blocks.Outcome{Action: blocks.ActionDone}
	}
	if good {
		return blocks.Outcome{Action: blocks.ActionEmulate, Reason: "device:short-transfer", Err: fmt.Errorf("%w: %d bytes of the parameter list were not sent", blocks.ErrShort, c.Resid)}
	}
	o := blocks.Outcome{Reason: a.slug(), Err: a}
	o.Action, o.Untouched = a.action(sense)
	return o
}

// Happened tells whether the end of a command says that something has happened to the logical unit or to
// the way to it, such as a reset or another configuration (a unit attention, which is told once): whatever
// was found out before may be of the past.
func Happened(c Completion, err error) bool {
	if err != nil {
		return !errors.Is(err, blocks.ErrNotIssued)
	}
	a, _, good := c.answer()
	return !good && (a.Host != 0 || a.HasSense && a.Sense.Key == UnitAttention)
}

// unreachable: the copy manager says that it does not reach one of the logical
// units. Linux says the same of every I/O error.
func unreachable(o blocks.Outcome) bool {
	var a Answer
	if o.Action != blocks.ActionEmulate || !errors.As(o.Err, &a) || !a.HasSense || a.Sense.Key != CopyAborted {
		return false
	}
	return a.Sense.ASC == 0x0D && a.Sense.ASCQ == 0x02 || a.Sense.ASC == 0x08 && a.Sense.ASCQ == 0x04
}

// action also says whether the command was turned away before it began.
func (a Answer) action(s Sense) (_ blocks.Action, untouched bool) {
	switch {
	case a.Host != 0 || a.Driver&^driverSense != 0:
		return blocks.ActionFence, false
	case a.Status == Good: // with sense data
		return senseAction(a, s), false
	case a.Status != CheckCondition:
		action, ok := statuses[a.Status]
		if !ok {
			return blocks.ActionFence, false
		}
		return action, a.Status == Busy || a.Status == TaskSetFull || a.Status == ReservationConflict
	}
	action := senseAction(a, s)
	return action, action == blocks.ActionNextID
}

func senseAction(a Answer, s Sense) blocks.Action {
	if !a.HasSense {
		return blocks.ActionEmulate
	}
	if a.Deferred {
		return blocks.ActionSurface // something that was reported as written is lost
	}
	for _, f := range s.Forwarded {
		if f.Status == ReservationConflict {
			return blocks.ActionSurface
		}
	}
	if action, ok := senses[a.Sense]; ok {
		return action
	}
	return senseKeys[a.Sense.Key&0xF]
}

// notIssued maps each errno that SG_IO returns before the request is handed to
// the device (drivers/scsi/scsi_ioctl.c: sg_io up to blk_execute_rq) to what
// follows. All others leave the fate open. EFAULT comes after the command as well.
// So does ENODEV: drivers/scsi/sg.c returns it when the device is removed while a
// command is in flight.
var notIssued = map[syscall.Errno]blocks.Action{
	unix.EACCES:   blocks.ActionNotSupported,
	unix.EPERM:    blocks.ActionNotSupported,
	unix.ENOTTY:   blocks.ActionNotSupported,
	unix.EINVAL:   blocks.ActionNotSupported,
	unix.EMSGSIZE: blocks.ActionNotSupported,
	unix.ENOMEM:   blocks.ActionBackOff,
}
