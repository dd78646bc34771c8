package emulation

import (
	"errors"
	"fmt"
)

// What can be wrong besides the errors of devices. What is about a device arrives wrapped in an [Error].
var (
	// ErrRange: a negative offset or length, or one past the end of a device.
	ErrRange = errors.New("range is outside of the device")
	// ErrBlockSize: a block size that is not a power of two, or that the buffers of the engine cannot hold.
	ErrBlockSize = errors.New("unusable block size")
	// ErrOptions: the options of an engine contradict each other.
	ErrOptions = errors.New("invalid options")
	// ErrTooManyFailures: more separate ranges are lost than Options.MaxFailures.
	ErrTooManyFailures = errors.New("too many failures")
	// ErrStopped: a part could not be copied of what is copied in order, because operations overlap
	// themselves or each other or the device is written in order: going on could overwrite the only copy of it.
	ErrStopped = errors.New("stopped after a failure, as the order of what is written matters")
	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("engine is closed")
)

// Error says what went wrong with which bytes of a device. It unwraps to the error of the device,
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

// Unwrap gives access to what is behind.
func (e *Error) Unwrap() error { return e.Err }

// Failure is a part of an operation that was not done, and why. The destination
// bytes of a failed read are untouched; those of a failed write are undefined.
type Failure struct {
	Op  Op // the bytes concerned; can span operations that follow one another
	Err error
}
