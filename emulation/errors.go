package emulation

import (
	"errors"
	"fmt"
)

var (
	// ErrRange means that an operation has a negative offset or length, or
	// reaches past the end of one of its devices.
	ErrRange = errors.New("range is outside of the device")
	// ErrBlockSize means that a device has a block size that is not a power of
	// two, or is so large that the buffers of the engine cannot hold one.
	ErrBlockSize = errors.New("unusable block size")
	// ErrOptions means that the options of an engine contradict each other.
	ErrOptions = errors.New("invalid options")
	// ErrTooManyFailures ends a call that has lost more separate ranges than
	// Options.MaxFailures.
	ErrTooManyFailures = errors.New("too many failures")
	// ErrStopped ends a call that copies in order, because operations overlap
	// themselves or each other or the device is written in order, when a part could
	// not be copied: going on could overwrite the only copy of it.
	ErrStopped = errors.New("stopped after a failure, as the order of what is written matters")
	// ErrClosed is returned by an engine after Close.
	ErrClosed = errors.New("engine is closed")
)

// Failure is a part of an operation that was not done, and why. The destination
// bytes of a failed read are untouched; those of a failed write are undefined.
type Failure struct {
	Op  Op // the bytes concerned; can span operations that follow one another
	Err error
}

// Error is an I/O error of a device. It unwraps to the error of the device,
// so errors.Is(err, unix.EIO) works.
type Error struct {
	Op     string // "read", "write", "copy" or "check"
	Device string
	Offset int64 // bytes
	Length int64 // bytes
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: %d bytes at byte %d (sector %d): %v",
		e.Op, e.Device, e.Length, e.Offset, e.Offset/sectorSize, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
