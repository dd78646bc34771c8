package bcache

import (
	"errors"
	"fmt"
)

// What can be wrong besides the errnos of the kernel. They arrive wrapped in an
// [Error].
var (
	// ErrGone: the device is gone, or its number was given to another one.
	ErrGone = errors.New("bcache device is gone")
	// ErrNotBcache: the device is no bcache device.
	ErrNotBcache = errors.New("not a bcache device")
	// ErrUnsteady: the device changes faster than it can be read.
	ErrUnsteady = errors.New("bcache device keeps changing")
	// ErrBadDevice: a stored device that no kernel can have described.
	ErrBadDevice = errors.New("impossible bcache device")
	// ErrBadSuper: a superblock that bcache would not accept either, or one
	// that is not known.
	ErrBadSuper = errors.New("impossible superblock of bcache")
)

// Error tells which file or device an error is about.
type Error struct {
	// Subject is a path or a device.
	Subject string
	Err     error
}

func (e *Error) Error() string { return e.Subject + ": " + e.Err.Error() }

// Unwrap gives access to the sentinel or errno.
func (e *Error) Unwrap() error { return e.Err }

func fail(subject string, sentinel error, format string, args ...any) error {
	return &Error{subject, fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))}
}
