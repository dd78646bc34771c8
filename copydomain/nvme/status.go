package nvme

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
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

type statusRow struct {
	name   string
	action blocks.Action
}

// statuses says what follows from each status that a Copy command can meet.
// Names are those of the specification.
var statuses = map[Status]statusRow{
	0x000: {"Successful Completion", blocks.ActionDone},

	0x001: {"Invalid Command Opcode", blocks.ActionNotSupported},
	0x002: {"Invalid Field in Command", blocks.ActionNotSupported},
	0x004: {"Data Transfer Error", blocks.ActionEmulate},
	0x005: {"Commands Aborted due to Power Loss Notification", blocks.ActionEmulate},
	0x006: {"Internal Error", blocks.ActionEmulate},
	0x007: {"Command Abort Requested", blocks.ActionEmulate},
	0x008: {"Command Aborted due to SQ Deletion", blocks.ActionRetryPath},
	0x00B: {"Invalid Namespace or Format", blocks.ActionNotSupported},
	0x015: {"Operation Denied", blocks.ActionSurface},
	0x01C: {"Sanitize Failed", blocks.ActionSurface},
	0x01D: {"Sanitize In Progress", blocks.ActionSurface},
	0x020: {"Namespace is Write Protected", blocks.ActionSurface},
	0x021: {"Command Interrupted", blocks.ActionBackOff},
	0x022: {"Transient Transport Error", blocks.ActionRetryPath},
	0x023: {"Command Prohibited by Command and Feature Lockdown", blocks.ActionNotSupported},
	0x080: {"LBA Out of Range", blocks.ActionReresolve},
	0x081: {"Capacity Exceeded", blocks.ActionEmulate},
	0x082: {"Namespace Not Ready", blocks.ActionBackOff},
	0x083: {"Reservation Conflict", blocks.ActionSurface},
	0x084: {"Format In Progress", blocks.ActionBackOff},

	0x10A: {"Invalid Format", blocks.ActionNotSupported},
	0x180: {"Conflicting Attributes", blocks.ActionEmulate},
	0x181: {"Invalid Protection Information", blocks.ActionNotSupported},
	0x182: {"Attempted Write to Read Only Range", blocks.ActionSurface},
	0x183: {"Command Size Limit Exceeded", blocks.ActionShrink},
	0x185: {"Incompatible Namespace or Format", blocks.ActionNotSupported},
	0x186: {"Fast Copy Not Possible", blocks.ActionEmulate},
	0x187: {"Overlapping I/O Range", blocks.ActionEmulate},
	0x188: {"Namespace Not Reachable", blocks.ActionNotSupported},
	0x189: {"Insufficient Resources", blocks.ActionBackOff},

	// The zones were looked at before: somebody else has written to them or reset
	// them since.
	0x1B8: {"Zoned Boundary Error", blocks.ActionBackOff},
	0x1B9: {"Zone Is Full", blocks.ActionBackOff},
	0x1BA: {"Zone Is Read Only", blocks.ActionBackOff},
	0x1BB: {"Zone Is Offline", blocks.ActionBackOff},
	0x1BC: {"Zone Invalid Write", blocks.ActionBackOff},
	0x1BD: {"Too Many Active Zones", blocks.ActionBackOff},
	0x1BE: {"Too Many Open Zones", blocks.ActionBackOff},
	0x1BF: {"Invalid Zone State Transition", blocks.ActionBackOff},

	// The host's own read or write finds out which block it was.
	0x280: {"Write Fault", blocks.ActionEmulate},
	0x281: {"Unrecovered Read Error", blocks.ActionEmulate},
	0x282: {"End-to-end Guard Check Error", blocks.ActionSurface},
	0x283: {"End-to-end Application Tag Check Error", blocks.ActionSurface},
	0x284: {"End-to-end Reference Tag Check Error", blocks.ActionSurface},
	0x286: {"Access Denied", blocks.ActionSurface},
	0x287: {"Deallocated or Unwritten Logical Block", blocks.ActionEmulate},

	// The controller says these itself, so the command has ended.
	0x300: {"Internal Path Error", blocks.ActionRetryPath},
	0x301: {"Asymmetric Access Persistent Loss", blocks.ActionRetryPath},
	0x302: {"Asymmetric Access Inaccessible", blocks.ActionRetryPath},
	0x303: {"Asymmetric Access Transition", blocks.ActionRetryPath},
	0x360: {"Controller Pathing Error", blocks.ActionRetryPath},

	// The host says these about a command that it has lost sight of.
	0x370: {"Host Pathing Error", blocks.ActionFence},
	0x371: {"Command Aborted By Host", blocks.ActionFence},
}

// action of a status that may not be in the table. Everything a controller
// reports has ended; what the host made up, or nobody defines, has not for sure.
func (s Status) action() blocks.Action {
	if row, ok := statuses[s.Code()]; ok {
		return row.action
	}
	switch sct := s.Code() >> 8; {
	case sct <= 2 || sct == 7: // generic, command specific, media, vendor
		return blocks.ActionEmulate
	case sct == 3 && s.Code() < 0x370: // path related, seen by the controller
		return blocks.ActionRetryPath
	default:
		return blocks.ActionFence
	}
}

// Judge says what to make of the answer to a Copy command of that many ranges.
func Judge(c Completion, err error, ranges int) blocks.Outcome {
	if err != nil {
		return blocks.Unanswered(err, notIssued)
	}
	o := blocks.Outcome{Action: c.Status.action()}
	if o.Action == blocks.ActionDone {
		o.Done = ranges
		return o
	}
	o.Reason = fmt.Sprintf("device:status-0x%03x", uint16(c.Status.Code()))
	o.Err = c.Status
	if c.Status.reportsProgress() && uint64(c.DW0()) < uint64(ranges) {
		o.Done = int(c.DW0())
	}
	return o
}

// Happened tells whether the end of a command says that something has happened to the controller or to
// the way to it, such as a reset: whatever was found out before may be of the past.
func Happened(c Completion, err error) bool {
	if err != nil {
		return !errors.Is(err, blocks.ErrNotIssued)
	}
	const aborted, pathRelated = Status(0x008), 3
	return c.Status.Code() == aborted || c.Status.Code()>>8 == pathRelated
}

// reportsProgress says whether DW0 is the number of the first range that was not
// copied (NVM Command Set Specification, 3.3.2.5). It is so only where nobody but who
// carried the command out can have answered: who answers for others does not always
// have a DW0, and sends that of another command.
//
//   - Linux clears the status of a request before use but not its result
//     (drivers/nvme/host/core.c, nvme_clear_nvme_request). A command that never reached
//     the controller, or was cancelled, has the result of an earlier one: all path
//     related statuses, 007h and 008h.
//   - A Linux target that passes commands through hands that on, and makes 006h of a
//     command that its own host has cancelled (drivers/nvme/target/passthru.c,
//     nvmet_passthru_execute_cmd_work). What it refuses itself, with 001h, 002h, 004h,
//     006h, 00Bh and other generic statuses, has up to Linux 6.9 whatever the memory of the
//     completion held before (drivers/nvme/target/core.c, nvmet_req_init: "nvmet: always
//     initialize cqe.result").
//
// So it is with all generic statuses. Those that are specific to a command, and of the
// media, come from whoever executes it. Those of a vendor promise nothing.
func (s Status) reportsProgress() bool {
	sct := s.Code() >> 8
	return sct == 1 || sct == 2
}

// notIssued maps each errno that the passthrough ioctl returns before the
// request is handed to the controller (drivers/nvme/host/ioctl.c: nvme_user_cmd64
// up to nvme_alloc_user_request, nvme_ns_head_ioctl) to what follows.
//
// All others leave the fate open. EINTR above all: no signal interrupts the wait
// in blk_execute_rq; EINTR is NVME_REQ_CANCELLED, a command that a timeout or a
// reset took from the driver after the controller had it.
var notIssued = map[syscall.Errno]blocks.Action{
	unix.EACCES: blocks.ActionNotSupported,
	unix.EPERM:  blocks.ActionNotSupported,
	unix.ENOTTY: blocks.ActionNotSupported,
	unix.EINVAL: blocks.ActionNotSupported, // e.g. the NSID is not that of the descriptor
	unix.EAGAIN: blocks.ActionRetryPath,    // a multipath head without a usable path
	unix.ENOMEM: blocks.ActionBackOff,
}
