package sysfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/dmcopy/dmcopy/remap"
)

// What can be wrong. They arrive wrapped in an [Error].
var (
	// ErrGone: there is no such device (any more).
	ErrGone = errors.New("device is gone")
	// ErrValue: a file does not hold what the kernel documents.
	ErrValue = errors.New("unexpected value")
)

// Error tells which file, device or name an error is about.
type Error struct {
	// Subject is a path, a device or a name as it was given.
	Subject string
	Err     error
}

func (e *Error) Error() string { return e.Subject + ": " + e.Err.Error() }

// Unwrap gives access to the sentinel or errno.
func (e *Error) Unwrap() error { return e.Err }

// About wraps an error in what it is about.
func About(subject string, err error) error { return &Error{subject, err} }

// Fail is an error about something, with what the sentinel does not tell put together as by [fmt.Sprintf].
func Fail(subject string, sentinel error, format string, args ...any) error {
	return &Error{subject, fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))}
}

// BadValue says that a file holds something else than it should.
func BadValue(path, content, want string) error {
	return &Error{path, fmt.Errorf("%w %q: want %s", ErrValue, content, want)}
}

// Named wraps an error in the device that it is about, of which d is the name, or the
// directory.
func Named(dev remap.Dev, d string, err error) error {
	return &Error{dev.String() + " (" + filepath.Base(d) + ")", err}
}

// Gone is an error of reading about a device, or ErrGone if it is what tells that.
func Gone(err error) error {
	if Vanished(err) {
		return ErrGone
	}
	return err
}

// Vanished tells whether an error is what reading sysfs gives when a device is
// removed at the same time.
func Vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}
