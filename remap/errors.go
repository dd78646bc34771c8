package remap

import "errors"

// What can be wrong with a stack or a question to it. They arrive wrapped in an [StackError].
var (
	// ErrUnknownDevice: the stack holds no such device.
	ErrUnknownDevice = errors.New("device is not part of the snapshot")
	// ErrDuplicate: two nodes have the same device number.
	ErrDuplicate = errors.New("device appears twice")
	// ErrCycle: a device rests on itself.
	ErrCycle = errors.New("device rests on itself")
	// ErrTooDeep: more layers than MaxDepth.
	ErrTooDeep = errors.New("too many layers")
	// ErrOutOfRange: the range does not lie on the device.
	ErrOutOfRange = errors.New("range lies outside of the device")
	// ErrBadNode: a node carries impossible facts.
	ErrBadNode = errors.New("impossible device facts")
)

// StackError names the device that an error is about. It unwraps to a sentinel.
type StackError struct {
	Dev  Dev
	Name string // may be empty
	Err  error
}

func (e *StackError) Error() string {
	if e.Name == "" {
		return "device " + e.Dev.String() + ": " + e.Err.Error()
	}
	return e.Name + " (" + e.Dev.String() + "): " + e.Err.Error()
}

// Unwrap gives access to what is behind.
func (e *StackError) Unwrap() error { return e.Err }
