package nvme

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// What all copy commands have in common.
var (
	ErrNotIssued  = blocks.ErrNotIssued
	ErrInvalid    = blocks.ErrInvalid
	ErrOverlap    = blocks.ErrOverlap
	ErrOutOfRange = blocks.ErrOutOfRange
	ErrFenced     = blocks.ErrFenced
	ErrTimeout    = blocks.ErrTimeout
)

var (
	// ErrNotAllowed is returned for opcodes that this package never sends.
	ErrNotAllowed = errors.New("command is not on the list of allowed commands")

	// ErrShort is returned by parsers for buffers that are too short.
	ErrShort = errors.New("buffer is too short")

	// ErrNotNVMe is returned by Open for a name that is not an NVMe namespace.
	ErrNotNVMe = errors.New("not an NVMe namespace")

	// ErrInactive is returned for a namespace ID without a namespace.
	ErrInactive = errors.New("namespace is not active")

	// ErrNotSupported is returned by NewCopier for a namespace that cannot
	// copy; [blocks.Support] holds the reason.
	ErrNotSupported = errors.New("copy is not supported")

	// ErrChanged is returned when the namespace is not the one that was probed.
	ErrChanged = errors.New("namespace has changed")
)

// Error is the error type of this package. Err is or wraps one of the
// sentinels above, a syscall.Errno or a [Status].
type Error struct {
	Op  string // what was tried, e.g. "identify namespace"
	Dev string // device or namespace, if known
	Err error
}

func (e *Error) Error() string {
	if e.Dev == "" {
		return fmt.Sprintf("nvme: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("nvme: %s: %s: %v", e.Dev, e.Op, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// opError returns nil for nil, so that callers need no branch.
func opError(op, dev string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Dev: dev, Err: err}
}
