package scsi

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
	// ErrNotAllowed is returned for commands that this package never sends.
	ErrNotAllowed = errors.New("command is not on the list of allowed commands")

	// ErrShort is returned by parsers for data that end too early.
	ErrShort = errors.New("data are too short")

	// ErrNotSCSI is returned by Open for a name that is not a SCSI disk.
	ErrNotSCSI = errors.New("not a SCSI disk")

	// ErrNotSupported is returned by NewCopier for logical units that no
	// command spans; [blocks.Support] holds the reason.
	ErrNotSupported = errors.New("copy is not supported")

	// ErrChanged is returned when a logical unit is not the one that was probed.
	ErrChanged = errors.New("logical unit has changed")

	// ErrGranularity is the error of blocks that a target cannot copy because
	// they do not fill its smallest unit.
	ErrGranularity = errors.New("shorter than the granularity of the target")
)

// Error is the error type of this package. Err is or wraps one of the
// sentinels above, a syscall.Errno or an [Answer].
type Error struct {
	Op  string // what was tried, e.g. "inquiry"
	Dev string // device, if known
	Err error
}

func (e *Error) Error() string {
	if e.Dev == "" {
		return fmt.Sprintf("scsi: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("scsi: %s: %s: %v", e.Dev, e.Op, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// opError returns nil for nil, so that callers need no branch.
func opError(op, dev string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Dev: dev, Err: err}
}

// short is the error of a parser that needs want bytes.
func short(op string, got, want int) error {
	return opError(op, "", fmt.Errorf("%w: %d of %d bytes", ErrShort, got, want))
}
