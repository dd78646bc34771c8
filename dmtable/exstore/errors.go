package exstore

import "errors"

// What can be wrong with a store besides the errors of the reader. They arrive wrapped in an [Error].
var (
	// ErrFormat: no kernel writes such a store, or none that we know.
	ErrFormat = errors.New("malformed exception store")
	// ErrInvalid: the kernel has given the snapshot up.
	ErrInvalid = errors.New("snapshot is invalid")
	// ErrTruncated: the store goes on beyond the end of the device.
	ErrTruncated = errors.New("exception store ends beyond its device")
	// ErrChanged: an exception that was there has gone or is a different one.
	ErrChanged = errors.New("exceptions have changed")
)

// Error tells which operation failed.
type Error struct {
	Op  string
	Err error
}

func (e *Error) Error() string { return "exception store: " + e.Op + ": " + e.Err.Error() }

// Unwrap gives access to the sentinel, or to the error of the reader.
func (e *Error) Unwrap() error { return e.Err }
