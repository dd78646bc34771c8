package nvme

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Status is the status field of a completion as Linux reports it: SC in bits
// 7:0, SCT in 10:8, CRD in 12:11, More in 13, DNR in 14. It is an error when it
// is not success; errors.Is compares the code only.
type Status uint16

// Bits beside the code.
const (
	StatusMore Status = 1 << 13
	StatusDNR  Status = 1 << 14
)

// Status codes that this package names. The others are in the table below.
const (
	StatusSuccess               Status = 0x000
	StatusInvalidOpcode         Status = 0x001
	StatusInvalidField          Status = 0x002
	StatusDataTransferError     Status = 0x004
	StatusInvalidNamespace      Status = 0x00B
	StatusLBAOutOfRange         Status = 0x080
	StatusReservationConflict   Status = 0x083
	StatusInvalidLogPage        Status = 0x109
	StatusCommandSizeLimit      Status = 0x183
	StatusIncompatible          Status = 0x185
	StatusOverlappingRange      Status = 0x187
	StatusNotReachable          Status = 0x188
	StatusInsufficientResources Status = 0x189
	StatusWriteFault            Status = 0x280
	StatusUnrecoveredRead       Status = 0x281
	StatusHostPathError         Status = 0x370
	StatusHostAborted           Status = 0x371
)

// Code is the status without CRD, More and DNR: SCT<<8 | SC.
func (s Status) Code() Status { return s & 0x7FF }

// DNR says that a retry on the same controller is expected to fail as well.
func (s Status) DNR() bool { return s&StatusDNR != 0 }

// Is makes errors.Is compare codes.
func (s Status) Is(target error) bool {
	t, ok := target.(Status)
	return ok && s.Code() == t.Code()
}

func (s Status) Error() string { return s.String() }

func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "status 0x%03x", uint16(s.Code()))
	if row, ok := statuses[s.Code()]; ok {
		fmt.Fprintf(&b, " (%s)", row.name)
	}
	if s.DNR() {
		b.WriteString(" dnr")
	}
	return b.String()
}

// Action is what the caller has to do after a command.
type Action uint8

const (
	// ActionDone: every range was copied.
	ActionDone Action = iota
	// ActionRefreshLimits: the command was too large. Read the limits again,
	// make it smaller, try again. Copier does that itself.
	ActionRefreshLimits
	// ActionNotSupported: this controller, or this pair, will never do it. Do
	// not ask again; copy through the host.
	ActionNotSupported
	// ActionEmulate: copy this piece through the host, go on with the others.
	ActionEmulate
	// ActionBackOff: the device is short of something for now. Copy the rest of
	// the batch through the host and offer less later.
	ActionBackOff
	// ActionRetryPath: a path or the controller's access to the namespace was
	// lost. The command has ended; choose a path, or copy through the host.
	ActionRetryPath
	// ActionReresolve: the device does not look as it did. Resolve again before
	// anything else is written.
	ActionReresolve
	// ActionSurface: report it to the user. Copying through the host would work
	// around something that somebody meant.
	ActionSurface
	// ActionCanceled: the caller's context ended before the piece was issued.
	ActionCanceled
	// ActionFence: the fate of the command is unknown. It may still be running
	// and write later, so nobody may touch its destination.
	ActionFence
)

var actionNames = [...]string{
	"done", "refresh-limits", "not-supported", "emulate", "back-off",
	"retry-path", "re-resolve", "surface", "canceled", "fence",
}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// stops says whether the rest of a batch stays at home after a.
func (a Action) stops() bool { return a != ActionDone && a != ActionEmulate }

type statusRow struct {
	name   string
	action Action
}

// statuses says what follows from each status that a Copy command can meet.
// Names are those of the specification.
var statuses = map[Status]statusRow{
	0x000: {"Successful Completion", ActionDone},

	0x001: {"Invalid Command Opcode", ActionNotSupported},
	0x002: {"Invalid Field in Command", ActionNotSupported},
	0x004: {"Data Transfer Error", ActionEmulate},
	0x005: {"Commands Aborted due to Power Loss Notification", ActionEmulate},
	0x006: {"Internal Error", ActionEmulate},
	0x007: {"Command Abort Requested", ActionEmulate},
	0x008: {"Command Aborted due to SQ Deletion", ActionRetryPath},
	0x00B: {"Invalid Namespace or Format", ActionNotSupported},
	0x015: {"Operation Denied", ActionSurface},
	0x01C: {"Sanitize Failed", ActionSurface},
	0x01D: {"Sanitize In Progress", ActionSurface},
	0x020: {"Namespace is Write Protected", ActionSurface},
	0x021: {"Command Interrupted", ActionBackOff},
	0x022: {"Transient Transport Error", ActionRetryPath},
	0x023: {"Command Prohibited by Command and Feature Lockdown", ActionNotSupported},
	0x080: {"LBA Out of Range", ActionReresolve},
	0x081: {"Capacity Exceeded", ActionEmulate},
	0x082: {"Namespace Not Ready", ActionBackOff},
	0x083: {"Reservation Conflict", ActionSurface},
	0x084: {"Format In Progress", ActionBackOff},

	0x10A: {"Invalid Format", ActionNotSupported},
	0x180: {"Conflicting Attributes", ActionEmulate},
	0x181: {"Invalid Protection Information", ActionNotSupported},
	0x182: {"Attempted Write to Read Only Range", ActionSurface},
	0x183: {"Command Size Limit Exceeded", ActionRefreshLimits},
	0x185: {"Incompatible Namespace or Format", ActionNotSupported},
	0x186: {"Fast Copy Not Possible", ActionEmulate},
	0x187: {"Overlapping I/O Range", ActionEmulate},
	0x188: {"Namespace Not Reachable", ActionNotSupported},
	0x189: {"Insufficient Resources", ActionBackOff},

	// Zoned namespaces are refused by Probe; one that answers so nevertheless
	// is left to the host, which knows the rules of its zones.
	0x1B8: {"Zoned Boundary Error", ActionNotSupported},
	0x1B9: {"Zone Is Full", ActionNotSupported},
	0x1BA: {"Zone Is Read Only", ActionNotSupported},
	0x1BB: {"Zone Is Offline", ActionNotSupported},
	0x1BC: {"Zone Invalid Write", ActionNotSupported},
	0x1BD: {"Too Many Active Zones", ActionNotSupported},
	0x1BE: {"Too Many Open Zones", ActionNotSupported},
	0x1BF: {"Invalid Zone State Transition", ActionNotSupported},

	// The host's own read or write finds out which block it was.
	0x280: {"Write Fault", ActionEmulate},
	0x281: {"Unrecovered Read Error", ActionEmulate},
	0x282: {"End-to-end Guard Check Error", ActionSurface},
	0x283: {"End-to-end Application Tag Check Error", ActionSurface},
	0x284: {"End-to-end Reference Tag Check Error", ActionSurface},
	0x286: {"Access Denied", ActionSurface},
	0x287: {"Deallocated or Unwritten Logical Block", ActionEmulate},

	// The controller says these itself, so the command has ended.
	0x300: {"Internal Path Error", ActionRetryPath},
	0x301: {"Asymmetric Access Persistent Loss", ActionRetryPath},
	0x302: {"Asymmetric Access Inaccessible", ActionRetryPath},
	0x303: {"Asymmetric Access Transition", ActionRetryPath},
	0x360: {"Controller Pathing Error", ActionRetryPath},

	// The host says these about a command that it has lost sight of.
	0x370: {"Host Pathing Error", ActionFence},
	0x371: {"Command Aborted By Host", ActionFence},
}

// action of a status that may not be in the table. Everything a controller
// reports has ended; what the host made up, or nobody defines, has not for sure.
func (s Status) action() Action {
	if row, ok := statuses[s.Code()]; ok {
		return row.action
	}
	switch sct := s.Code() >> 8; {
	case sct <= 2 || sct == 7: // generic, command specific, media, vendor
		return ActionEmulate
	case sct == 3 && s.Code() < 0x370: // path related, seen by the controller
		return ActionRetryPath
	default:
		return ActionFence
	}
}

// Outcome is what is known about a command after it came back, or did not.
type Outcome struct {
	Action Action
	Reason string // slug such as "device:status-0x183", empty when done
	Err    error  // the status or error behind it, nil when done

	// DoneRanges is the number of ranges, from the first, that are known to be
	// copied. Of the others any part may have been written.
	DoneRanges int

	// Untouched: the device has not seen the command.
	Untouched bool
}

// Judge says what to make of the answer to a Copy command of that many ranges.
func Judge(c Completion, err error, ranges int) Outcome {
	if err != nil {
		return judgeError(err)
	}
	o := Outcome{Action: c.Status.action()}
	if o.Action == ActionDone {
		o.DoneRanges = ranges
		return o
	}
	o.Reason = fmt.Sprintf("device:status-0x%03x", uint16(c.Status.Code()))
	o.Err = c.Status
	if c.Status.reportsProgress() && uint64(c.DW0()) < uint64(ranges) {
		o.DoneRanges = int(c.DW0())
	}
	return o
}

// reportsProgress says whether DW0 is the number of the first range that was not
// copied (NVM Command Set Specification, 3.3.2.5). Linux clears the
// status of a request before use but not its result (nvme_clear_nvme_request), so
// when the command never reached the controller, as with the path related
// statuses, DW0 can be that of an earlier one. Those of a vendor, and
// of an abort, promise nothing.
func (s Status) reportsProgress() bool {
	code := s.Code()
	return code>>8 <= 2 && code != 0x007 && code != 0x008
}

// notIssued maps each errno that the passthrough ioctl returns before the
// request is handed to the controller (drivers/nvme/host/ioctl.c: nvme_user_cmd64
// up to nvme_alloc_user_request, nvme_ns_head_ioctl) to what follows.
//
// All others leave the fate open. EINTR above all: no signal interrupts the wait
// in blk_execute_rq; EINTR is NVME_REQ_CANCELLED, a command that a timeout or a
// reset took from the driver after the controller had it.
var notIssued = map[syscall.Errno]Action{
	unix.EACCES: ActionNotSupported,
	unix.EPERM:  ActionNotSupported,
	unix.ENOTTY: ActionNotSupported,
	unix.EINVAL: ActionNotSupported, // e.g. the NSID is not that of the descriptor
	unix.EAGAIN: ActionRetryPath,    // a multipath head without a usable path
	unix.ENOMEM: ActionBackOff,
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
