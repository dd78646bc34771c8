package ends

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// unopened makes a refusal of whatever keeps an end from being opened, if it is none
// yet: nothing has been written then.
func unopened(sys sysblock.FS, name string, err error) error {
	for _, told := range []error{nil, failure.ErrRefused, failure.ErrUsage, failure.ErrPolicy, failure.ErrLayout, failure.ErrInterrupted} {
		if errors.Is(err, told) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return failure.During("open", fmt.Errorf("%w: %w", failure.ErrInterrupted, withoutStep(err)))
	}
	if isMissing(sys.Root().Path("proc/self/mountinfo")) {
		return failure.Refuse(name, "cannot be looked at: /proc is not there, and only /proc says who uses what",
			"mount it (mount -t proc proc /proc), or give it to the container")
	}
	var number unix.Errno
	if !errors.As(err, &number) {
		return failure.Refuse(name, "cannot be opened: %v", "see what the device is: dmcopy tree, lsblk", withoutStep(err))
	}
	reason, way := becauseOf(number)
	return failure.Refuse(name, "%s", way, reason)
}

// becauseOf explains what has no case of its own.
func becauseOf(number unix.Errno) (reason, way string) {
	switch number {
	case unix.ELOOP:
		return "is a symbolic link that leads in a circle", "name the device or file that you mean"
	case unix.ENAMETOOLONG:
		return "has a name that is too long", "choose a shorter one, or run dmcopy in a directory that is nearer to it"
	case unix.EMFILE, unix.ENFILE:
		return "cannot be opened: there are too many open files", "raise the limit (ulimit -n), or close some of them"
	case unix.EISDIR:
		return "is a directory", "name a device or a file"
	case unix.EPERM, unix.EACCES:
		return "cannot be looked at: " + number.Error(), "run as root, and outside of a container that forbids system calls (seccomp)"
	case unix.EIO:
		return "cannot be opened: " + number.Error(), "check the hardware (dmesg has more)"
	}
	return "cannot be opened: " + number.Error(), "see what the kernel says (dmesg), and try again"
}

// withoutStep is the error without its step, which is that of opening.
func withoutStep(err error) error {
	if e := (*failure.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
