package files

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Action is what to do about a run that was not copied.
type Action uint8

const (
	// ActionHost: copy this run in another way.
	ActionHost Action = iota
	// ActionNotSupported: and do not try others between these files.
	ActionNotSupported
	// ActionCanceled: the caller ended the copy before the run was tried.
	ActionCanceled
	// ActionExpired: the moment after which no call is begun had passed before the run
	// was tried.
	ActionExpired
)

// Failure is a run that was not, or not provably, copied.
type Failure struct {
	Move
	Action Action
	Reason string // slug such as "file:refused"
	Err    error
}

// meanings are the errors of both calls that say more than their number
// (ioctl_ficlonerange(2), copy_file_range(2), fs/remap_range.c).
var meanings = map[syscall.Errno]struct {
	reason string
	action Action
}{
	syscall.EOPNOTSUPP: {"file:not-supported", ActionNotSupported},
	syscall.ENOSYS:     {"file:not-supported", ActionNotSupported},
	syscall.ENOTTY:     {"file:not-supported", ActionNotSupported},
	// The file systems only looked the same, or are mounted twice.
	syscall.EXDEV: {"file:cross-device", ActionNotSupported},
	// Files whose blocks cannot be shared: one has checksums and the other has not
	// (btrfs), extents of several blocks (xfs), swap files.
	syscall.EINVAL:  {"file:refused", ActionNotSupported},
	syscall.ETXTBSY: {"file:in-use", ActionNotSupported},
	syscall.EPERM:   {"file:denied", ActionNotSupported},
	syscall.EACCES:  {"file:denied", ActionNotSupported},
	syscall.EROFS:   {"file:denied", ActionNotSupported},
	// Sharing takes metadata; writing over what is there may not.
	syscall.ENOSPC: {"file:no-space", ActionHost},
	syscall.EDQUOT: {"file:no-space", ActionHost},
}

// judge draws the conclusion from the error of a call.
func judge(m Move, err error) Failure {
	f := Failure{Move: m, Reason: "file:unknown", Err: err}
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		f.Reason, f.Action = "canceled", ActionCanceled
	case errors.Is(err, boottime.ErrPassed):
		f.Reason, f.Action = "hold:expired", ActionExpired
	case errors.Is(err, ErrSize):
		f.Reason = "file:size"
	case errors.Is(err, ErrNoProgress):
		f.Reason = "file:short"
	case errors.Is(err, ErrCount):
		f.Reason, f.Action = "file:wrong-count", ActionNotSupported
	case errors.As(err, &errno):
		f.Reason = fmt.Sprintf("file:errno-%d", int(errno))
		if known, ok := meanings[errno]; ok {
			f.Reason, f.Action = known.reason, known.action
		}
	}
	return f
}
