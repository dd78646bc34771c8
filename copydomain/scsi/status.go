package scsi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
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

// Action is what the caller has to do after a command.
type Action uint8

const (
	// ActionDone: everything was copied.
	ActionDone Action = iota
	// ActionShrink: the command was too large, or asked for something else
	// that a smaller one may do without. Copier does that itself.
	ActionShrink
	// ActionRetry: the device is busy and has not begun. Wait, try again.
	// Copier does that itself, a few times.
	ActionRetry
	// ActionRecheck: something happened to the logical unit. Make sure that
	// it is still the same, try again. Copier does that itself, a few times.
	ActionRecheck
	// ActionNextID: somebody else uses the list identifier. Copier takes
	// another one.
	ActionNextID
	// ActionNotSupported: this target, or this pair, will never do it. Do not
	// ask again; copy through the host.
	ActionNotSupported
	// ActionEmulate: copy this through the host, go on with the others.
	ActionEmulate
	// ActionBackOff: the device is short of something for now. Copy the rest of
	// the batch through the host and offer less later.
	ActionBackOff
	// ActionRetryPath: this path does not lead to the logical unit for now.
	// The command has ended; choose a path, or copy through the host.
	ActionRetryPath
	// ActionReresolve: the device does not look as it did. Resolve again before
	// anything else is written.
	ActionReresolve
	// ActionSurface: report it to the user. Copying through the host would work
	// around something that somebody meant, or hide damage.
	ActionSurface
	// ActionCanceled: the caller's context ended before the piece was issued.
	ActionCanceled
	// ActionFence: the fate of the command is unknown. It may still be running
	// and write later, so nobody may touch its destination.
	ActionFence
)

var actionNames = [...]string{
	"done", "shrink", "retry", "recheck", "next-id", "not-supported", "emulate", "back-off",
	"retry-path", "re-resolve", "surface", "canceled", "fence",
}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// again says that the same blocks are tried once more.
func (a Action) again() bool {
	return a == ActionShrink || a == ActionRetry || a == ActionRecheck || a == ActionNextID
}

// stops says whether the rest of a batch stays at home after a.
func (a Action) stops() bool { return a != ActionDone && a != ActionEmulate && !a.again() }

// statuses says what follows from each status but CHECK CONDITION. The device
// sends them all itself, so the command has ended.
var statuses = map[Status]Action{
	Good:                ActionDone,
	ConditionMet:        ActionEmulate,
	Busy:                ActionRetry,
	ReservationConflict: ActionSurface,
	TaskSetFull:         ActionRetry,
	ACAActive:           ActionBackOff,
	TaskAborted:         ActionEmulate,
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
var senses = map[SenseCode]Action{
	{NotReady, 0x04, 0x0A}: ActionRetryPath,
	{NotReady, 0x04, 0x0B}: ActionRetryPath,
	{NotReady, 0x04, 0x0C}: ActionRetryPath,
	// Linux says that of units with different blocks; it does not pass.
	{NotReady, 0x08, 0x00}: ActionNotSupported,
	{NotReady, 0x08, 0x04}: ActionNotSupported,

	{IllegalRequest, 0x00, 0x16}: ActionNextID,
	{IllegalRequest, 0x08, 0x04}: ActionNotSupported,
	{IllegalRequest, 0x1A, 0x00}: ActionShrink,
	{IllegalRequest, 0x20, 0x00}: ActionNotSupported,
	{IllegalRequest, 0x20, 0x02}: ActionSurface,
	{IllegalRequest, 0x21, 0x00}: ActionReresolve,
	{IllegalRequest, 0x24, 0x00}: ActionShrink,
	{IllegalRequest, 0x25, 0x00}: ActionReresolve,
	{IllegalRequest, 0x26, 0x00}: ActionShrink,
	{IllegalRequest, 0x26, 0x06}: ActionNotSupported,
	{IllegalRequest, 0x26, 0x07}: ActionNotSupported,
	{IllegalRequest, 0x26, 0x08}: ActionShrink,
	{IllegalRequest, 0x26, 0x09}: ActionNotSupported,
	{IllegalRequest, 0x26, 0x0A}: ActionEmulate,
	{IllegalRequest, 0x26, 0x0B}: ActionEmulate,
	{IllegalRequest, 0x26, 0x0C}: ActionEmulate,
	{IllegalRequest, 0x26, 0x0D}: ActionEmulate,
	{IllegalRequest, 0x26, 0x15}: ActionSurface,
	{IllegalRequest, 0x26, 0x16}: ActionEmulate,
	{IllegalRequest, 0x55, 0x0C}: ActionBackOff,
	{IllegalRequest, 0x55, 0x0D}: ActionBackOff,

	{UnitAttention, 0x2A, 0x09}: ActionReresolve,
	{UnitAttention, 0x3F, 0x03}: ActionReresolve,
	{UnitAttention, 0x3F, 0x05}: ActionReresolve,

	// No room in the pool below: the host's own write finds out.
	{DataProtect, 0x27, 0x07}: ActionEmulate,

	{CopyAborted, 0x0D, 0x03}: ActionNotSupported,
}

// senseKeys says what follows from every other code.
var senseKeys = [16]Action{
	NoSense:        ActionEmulate,
	RecoveredError: ActionEmulate,
	NotReady:       ActionBackOff,
	MediumError:    ActionEmulate, // the host's own read or write finds out which block it was
	HardwareError:  ActionEmulate,
	IllegalRequest: ActionNotSupported,
	UnitAttention:  ActionRecheck,
	DataProtect:    ActionSurface,
	0x8:            ActionEmulate, // BLANK CHECK
	0x9:            ActionEmulate, // vendor specific
	CopyAborted:    ActionEmulate,
	AbortedCommand: ActionEmulate,
	0xC:            ActionEmulate, // reserved
	0xD:            ActionEmulate, // VOLUME OVERFLOW
	0xE:            ActionEmulate, // MISCOMPARE
	0xF:            ActionEmulate, // COMPLETED
}

// Outcome is what is known about a command after it came back, or did not.
type Outcome struct {
	Action Action
	Reason string // slug such as "device:sense-5-26-00", empty when done
	Err    error  // the answer or error behind it, nil when done

	// Untouched: the device has not begun.
	Untouched bool

	// Unreachable: the copy manager says that it does not reach one of the
	// logical units. Linux says the same of every I/O error.
	Unreachable bool
}

// Judge says what to make of the answer to an EXTENDED COPY.
//
// Whatever the device reports has ended the command. What the host reports, or
// nobody defines, has not for sure: after a timeout the kernel aborts the command,
// but a driver may well have failed to.
func Judge(c Completion, err error) Outcome {
	if err != nil {
		return judgeError(err)
	}
	a, sense, good := c.answer()
	if good && c.Resid == 0 {
		return Outcome{Action: ActionDone}
	}
	if good {
		return Outcome{Action: ActionEmulate, Reason: "device:short-transfer", Err: fmt.Errorf("%w: %d bytes of the parameter list were not sent", ErrShort, c.Resid)}
	}
	o := Outcome{Reason: a.slug(), Err: a}
	o.Action, o.Untouched = a.action(sense)
	o.Unreachable = a.HasSense && o.Action == ActionEmulate && a.Sense.Key == CopyAborted && (a.Sense.ASC == 0x0D && a.Sense.ASCQ == 0x02 || a.Sense.ASC == 0x08 && a.Sense.ASCQ == 0x04)
	return o
}

// action also says whether the command was turned away before it began.
func (a Answer) action(s Sense) (_ Action, untouched bool) {
	switch {
	case a.Host != 0 || a.Driver&^driverSense != 0:
		return ActionFence, false
	case a.Status == Good: // with sense data
		return senseAction(a, s), false
	case a.Status != CheckCondition:
		action, ok := statuses[a.Status]
		if !ok {
			return ActionFence, false
		}
		return action, a.Status == Busy || a.Status == TaskSetFull || a.Status == ReservationConflict
	}
	action := senseAction(a, s)
	return action, action == ActionNextID
}

func senseAction(a Answer, s Sense) Action {
	if !a.HasSense {
		return ActionEmulate
	}
	if a.Deferred {
		return ActionSurface // something that was reported as written is lost
	}
	for _, f := range s.Forwarded {
		if f.Status == ReservationConflict {
			return ActionSurface
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
var notIssued = map[syscall.Errno]Action{
	unix.EACCES:   ActionNotSupported,
	unix.EPERM:    ActionNotSupported,
	unix.ENOTTY:   ActionNotSupported,
	unix.EINVAL:   ActionNotSupported,
	unix.EMSGSIZE: ActionNotSupported,
	unix.ENOMEM:   ActionBackOff,
}

func judgeError(err error) Outcome {
	o := Outcome{Action: ActionFence, Reason: "device:no-answer", Err: err}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		o.Reason = "device:errno-" + errnoSlug(errno)
	case errors.Is(err, ErrTimeout):
		o.Reason = "device:timeout"
	}
	if !errors.Is(err, ErrNotIssued) {
		return o
	}
	o.Untouched = true
	if errno == 0 {
		o.Reason = "device:not-issued"
	}
	if action, ok := notIssued[errno]; ok {
		o.Action = action
		return o
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return canceled(err)
	}
	o.Action = ActionEmulate
	return o
}

// canceled is the outcome of what was not issued because the context had ended.
func canceled(err error) Outcome {
	return Outcome{Action: ActionCanceled, Reason: "canceled", Err: err, Untouched: true}
}

func errnoSlug(e syscall.Errno) string {
	if name := unix.ErrnoName(e); name != "" {
		return strings.ToLower(name)
	}
	return fmt.Sprint(uint(e))
}
