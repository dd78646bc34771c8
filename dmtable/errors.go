package dmtable

import (
	"errors"

	"github.com/dmcopy/dmcopy/remap"
)

// What can be wrong besides the errnos of the kernel. They arrive wrapped in an [Error].
var (
	// ErrNoDevice: there is no mapped device of that number (any more).
	ErrNoDevice = errors.New("no such mapped device")
	// ErrReply: the kernel's answer does not follow its own format.
	ErrReply = errors.New("malformed reply of the kernel")
	// ErrTooBig: the table does not fit into the largest reply that the kernel can give.
	ErrTooBig = errors.New("table is too big to be read")
	// ErrRace: the table was swapped, or a target changed its state, while it was read. Reading again may help.
	ErrRace = errors.New("table changed while it was read")
	// ErrBadTable: a stored table that no kernel can have printed.
	ErrBadTable = errors.New("impossible table")
)

// Error tells which operation failed on which device. It unwraps to a sentinel or an errno.
type Error struct {
	Op  string
	Dev remap.Dev // zero for operations on all devices
	Err error
}

func (e *Error) Error() string {
	what := e.Op
	if !e.Dev.IsZero() {
		what += " of " + e.Dev.String()
	}
	return "device-mapper: " + what + ": " + e.Err.Error()
}

// Unwrap gives access to what is behind.
func (e *Error) Unwrap() error { return e.Err }
