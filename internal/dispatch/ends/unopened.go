package ends

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
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
		return "cannot be opened: there are too many open files", failure.WayOfTooManyFiles
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

func (o *opener) refuseUnfound(err error) error {
	why := err
	var e *sysblock.Error
	if errors.As(err, &e) && e.Subject == o.name {
		why = e.Err
	}
	if refused := refuseWithoutSys(o.sys, o.name); refused != nil {
		return refused
	}
	switch {
	case errors.Is(err, sysblock.ErrNotFound):
		return refuseMissing(o.name, why)
	case errors.Is(err, sysblock.ErrNotBlock):
		return failure.Refuse(o.name, "cannot be copied: %v", "name a block device or a regular file", why)
	case errors.Is(err, sysblock.ErrAmbiguous):
		return failure.Refuse(o.name, "cannot be chosen: %v", "", why)
	case errors.Is(err, sysblock.ErrGone):
		return failure.Refuse(o.name, "has disappeared while it was looked at", "check the hardware and try again")
	case errors.Is(err, fs.ErrPermission):
		return failure.Refuse(o.name, "cannot be looked at: %v", "run as root", why)
	}
	return failure.During("open", err)
}

func (o *opener) replaced() error {
	return failure.Refuse(o.name, "was replaced by something else while it was opened", "try again")
}

// refuseUnopened explains why something cannot be opened.
func (o *opener) refuseUnopened(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY) && o.facts != nil:
		who, way := o.holder(err)
		return failure.Refuse(o.name, "cannot be opened: %s", way, who)
	case errors.Is(err, fs.ErrPermission):
		return refuseForbidden(o.name, o.path, err)
	case errors.Is(err, unix.EROFS):
		return failure.Refuse(o.name, "is read-only, or on a read-only file system", "make it writable first")
	case errors.Is(err, unix.ETXTBSY):
		return failure.Refuse(o.name, "is in use as a program or as swap space", "choose another file")
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOMEDIUM):
		return failure.Refuse(o.name, "has disappeared (%v)", "check the hardware and try again", err)
	case errors.Is(err, fs.ErrNotExist) && o.facts == nil:
		return failure.Refuse(o.name, "was removed while it was opened", "try again")
	case errors.Is(err, fs.ErrExist):
		return failure.Refuse(o.name, "was created by somebody else meanwhile", "try again")
	case errors.Is(err, fs.ErrNotExist):
		return failure.Refuse(o.name, "has no node at %s", "let udev make it (udevadm settle), or check the name", o.path)
	case errors.Is(err, blockio.ErrFileType):
		return failure.Refuse(o.name, "is neither a block device nor a regular file", "name one of these")
	}
	return failure.During("open", err)
}

// isMissing tells whether there is nothing of that name.
func isMissing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}
