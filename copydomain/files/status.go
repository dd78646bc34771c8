package files

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Failure is a run that was not, or not provably, copied.
type Failure struct {
	Move
	Action blocks.Action // emulate, not-supported, canceled or expired
	Reason string        // slug such as "file:refused"
	Err    error
}

// meanings are the errors of both calls that say more than their number
// (ioctl_ficlonerange(2), copy_file_range(2), fs/remap_range.c).
var meanings = map[syscall.Errno]struct {
	reason string
	action blocks.Action
}{
	syscall.EOPNOTSUPP: {"file:not-supported", blocks.ActionNotSupported},
	syscall.ENOSYS:     {"file:not-supported", blocks.ActionNotSupported},
	syscall.ENOTTY:     {"file:not-supported", blocks.ActionNotSupported},
	// The file systems only looked the same, or are mounted twice.
	syscall.EXDEV: {"file:cross-device", blocks.ActionNotSupported},
	// Files whose blocks cannot be shared: one has checksums and the other has not
	// (btrfs), extents of several blocks (xfs), swap files.
	syscall.EINVAL:  {"file:refused", blocks.ActionNotSupported},
	syscall.ETXTBSY: {"file:in-use", blocks.ActionNotSupported},
	syscall.EPERM:   {"file:denied", blocks.ActionNotSupported},
	syscall.EACCES:  {"file:denied", blocks.ActionNotSupported},
	syscall.EROFS:   {"file:denied", blocks.ActionNotSupported},
	// Sharing takes metadata; writing over what is there may not.
	syscall.ENOSPC: {"file:no-space", blocks.ActionEmulate},
	syscall.EDQUOT: {"file:no-space", blocks.ActionEmulate},
}

// judge draws the conclusion from the error of a call.
func judge(m Move, err error) Failure {
	f := Failure{Move: m, Action: blocks.ActionEmulate, Reason: "file:unknown", Err: err}
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		f.Reason, f.Action = "canceled", blocks.ActionCanceled
	case errors.Is(err, boottime.ErrPassed):
		f.Reason, f.Action = "hold:expired", blocks.ActionExpired
	case errors.Is(err, ErrSize):
		f.Reason = "file:size"
	case errors.Is(err, ErrNoProgress):
		f.Reason = "file:short"
	case errors.Is(err, ErrCount):
		f.Reason, f.Action = "file:wrong-count", blocks.ActionNotSupported
	case errors.As(err, &errno):
		f.Reason = fmt.Sprintf("file:errno-%d", int(errno))
		if known, ok := meanings[errno]; ok {
			f.Reason, f.Action = known.reason, known.action
		}
	}
	return f
}
