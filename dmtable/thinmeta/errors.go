package thinmeta

import "errors"

// What can be wrong with metadata besides the errors of the reader. They arrive wrapped in an [Error].
var (
	// ErrChecksum: a block is not what was written, or not where it was written.
	ErrChecksum = errors.New("checksum or number of a metadata block is wrong")
	// ErrFormat: no kernel writes such metadata, or none that we know.
	ErrFormat = errors.New("malformed thin pool metadata")
	// ErrTooDeep: a tree is higher than any that the kernel can have made.
	ErrTooDeep = errors.New("tree of the thin pool is too high")
	// ErrCycle: a tree has more nodes than the device has blocks.
	ErrCycle = errors.New("tree of the thin pool meets itself")
	// ErrTruncated: the metadata go on beyond the end of the device.
	ErrTruncated = errors.New("thin pool metadata end beyond their device")
	// ErrNotHeld: the block is not the root of the metadata snapshot (any more).
	ErrNotHeld = errors.New("metadata snapshot is not held")
	// ErrNoDevice: the pool has no thin device of that number.
	ErrNoDevice = errors.New("no such thin device")
)

// Error tells which operation failed.
type Error struct {
	Op  string
	Err error
}

func (e *Error) Error() string { return "thin pool: " + e.Op + ": " + e.Err.Error() }

// Unwrap gives access to the sentinel, or to the error of the reader.
func (e *Error) Unwrap() error { return e.Err }
