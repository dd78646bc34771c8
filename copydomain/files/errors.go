package files

import (
	"errors"
	"fmt"
)

var (
	// ErrNotRegular is returned for what is no regular file.
	ErrNotRegular = errors.New("not a regular file")

	// ErrChanged is returned when a path leads to another file than the one that
	// is meant.
	ErrChanged = errors.New("the path leads to another file")

	// ErrInvalid is returned for moves that make no sense.
	ErrInvalid = errors.New("invalid")

	// ErrOverlap is returned when moves of one batch overlap each other.
	ErrOverlap = errors.New("ranges overlap")

	// ErrSize is the error of a run that does not lie within its files any more.
	ErrSize = errors.New("beyond the end of the file")

	// ErrNoProgress is the error of a call that reports success and copied nothing.
	ErrNoProgress = errors.New("nothing was copied")

	// ErrCount is the error of a call that reports more bytes than it was asked for.
	ErrCount = errors.New("impossible number of bytes")
)

// Error is the error type of this package. Err is or wraps one of the sentinels
// above, or a syscall.Errno.
type Error struct {
	Op   string // system call or ioctl
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("files: %s: %s: %v", e.Path, e.Op, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// opError returns nil for nil, so that callers need no branch.
func opError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: path, Err: err}
}
