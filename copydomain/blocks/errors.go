package blocks

import (
	"errors"
	"fmt"
)

// What can be wrong with a command, whatever the protocol. What the packages of the protocols return arrives wrapped in an
// [Error].
var (
	// ErrNotIssued: the device has certainly not seen the command. An error of a transport without it leaves the fate of the
	// command unknown: it may still be running.
	ErrNotIssued = errors.New("command was not issued")
	// ErrNotAllowed: a command that is never sent.
	ErrNotAllowed = errors.New("command is not on the list of allowed commands")
	// ErrInvalid: arguments or device data that make no sense.
	ErrInvalid = errors.New("invalid")
	// ErrShort: device data that end too early.
	ErrShort = errors.New("data are too short")
	// ErrOverlap: pieces of one batch overlap each other, or those of another one that is under way.
	ErrOverlap = errors.New("ranges overlap")
	// ErrOutOfRange: blocks beyond the end of a device.
	ErrOutOfRange = errors.New("beyond the end of the device")
	// ErrNotSupported: a device that cannot copy; [Support] holds the reason.
	ErrNotSupported = errors.New("copy is not supported")
	// ErrChanged: a device is not the one that was probed.
	ErrChanged = errors.New("the device has changed")
	// ErrFenced: a batch touches blocks that a command of unknown fate may still write.
	ErrFenced = errors.New("range is fenced by a command of unknown fate")
	// ErrTimeout: a command did not come back in time.
	ErrTimeout = errors.New("command did not come back in time")
)

// Error tells what was tried, on what. It unwraps to a sentinel of the protocol or of this package, to a syscall.Errno, or to
// an answer of the device.
type Error struct {
	Protocol string // "nvme", "scsi" or "files"
	Op       string // "identify namespace", "ioctl"
	On       string // the device or file, if it is known
	Err      error
}

func (e *Error) Error() string {
	if e.On == "" {
		return fmt.Sprintf("%s: %s: %v", e.Protocol, e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s: %s: %v", e.Protocol, e.On, e.Op, e.Err)
}

// Unwrap gives access to what is behind.
func (e *Error) Unwrap() error { return e.Err }

// Wrap returns nil for nil, so that callers need no branch.
func Wrap(protocol, op, on string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{protocol, op, on, err}
}
