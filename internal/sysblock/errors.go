package sysblock

import (
	"errors"
	"fmt"
)

// What can be wrong. They arrive wrapped in an [Error].
var (
	// ErrGone: there is no such device (any more).
	ErrGone = errors.New("device is gone")
	// ErrValue: a file does not hold what the kernel documents.
	ErrValue = errors.New("unexpected value")
	// ErrNotFound: a name means nothing here.
	ErrNotFound = errors.New("no such device")
	// ErrAmbiguous: a name means several things.
	ErrAmbiguous = errors.New("name is ambiguous")
	// ErrNotBlock: a name means something that is not a block device.
	ErrNotBlock = errors.New("not a block device")
	// ErrRegularFile: a name means a regular file. It is an ErrNotBlock.
	ErrRegularFile = fmt.Errorf("%w but a regular file", ErrNotBlock)
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

// badValue says that a file holds something else than it should.
func badValue(path, content, want string) error {
	return &Error{path, fmt.Errorf("%w %q: want %s", ErrValue, content, want)}
}
