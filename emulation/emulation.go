// Package emulation copies and compares byte ranges through host memory: it
// reads the upper source device and writes the upper destination device, so
// that the kernel keeps doing parity, encryption, bitmaps and bookkeeping.
//
// All offsets and lengths are bytes. Ranges need no alignment: where they do
// not end on a block of the device, the enclosing block is read, and on the
// destination modified and written back, unless it takes writes of any length: what
// lies around a range of a regular file can be somebody else's, and is left alone.
//
// One bad sector does not end a batch. A read or write that fails with a media
// error is repeated in smaller pieces, down to one block, so that a [Failure]
// names the bytes that were really lost, and everything around them is copied.
package emulation

import (
	"context"
	"iter"
)

// Device is one end of a copy. Its methods may be called concurrently, and must
// not keep p: its memory is unmapped when the engine is closed.
//
// Transfers are direct I/O: offsets and lengths are multiples of BlockSize, those of
// writes of WriteUnit, and the memory of whole blocks of p is aligned to BlockSize or
// to a page, whichever is smaller.
// There is one exception, for devices whose Size is no multiple of BlockSize: a
// write may end exactly at Size, and a read may reach past Size by less than one
// block and then returns what there is.
type Device interface {
	// ReadAt reads up to len(p) bytes at off. Other than with io.ReaderAt, a
	// short count with a nil error is allowed: the caller goes on from there.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes up to len(p) bytes at off. A short count with a nil error
	// is allowed: the caller goes on from there.
	WriteAt(p []byte, off int64) (int, error)
	// Zero makes n bytes at off read as zeroes. An error that is
	// errors.ErrUnsupported makes the engine write zeroes instead.
	Zero(off, n int64) error
	// Flush makes everything that was written durable.
	Flush() error
	// BlockSize is the unit of transfers in bytes, a power of two; 1 means that
	// any alignment will do.
	BlockSize() int
	// WriteUnit is the unit of writes in bytes: BlockSize, or 1 for a device that
	// writes any bytes exactly, and neither reads nor writes what lies around them.
	WriteUnit() int
	// Size is the length of the device in bytes. It does not change.
	Size() int64
	// Name is how errors call the device.
	Name() string
	// ID is equal for two Devices exactly when they are the same device node
	// or the same file. It does not see that two different nodes share storage
	// below (a disk and its partition): that is for the caller to know.
	ID() string
}

// Op copies Len bytes from Src on the source to Dst on the destination, all in
// bytes.
type Op struct {
	Src, Dst int64
	Len      int64
	// Zero makes the destination range read as zeroes; Src is not used. When
	// comparing, it demands that the range reads as zeroes.
	Zero bool
}

// Stats counts in bytes of the operations: what alignment made the engine read
// or write beyond them is not included. After a copy that was not ended early,
// Written + Zeroed + Skipped + Failed is the length of all operations.
type Stats struct {
	Read     int64 // from the source; comparing: read from both, or found to be zero or not
	Written  int64 // copied to the destination
	Zeroed   int64 // made zero on the destination, by Zero or by writing zeroes
	Skipped  int64 // zero in the source and left alone (SparseSkip)
	Failed   int64 // listed in Failures
	Merged   int64 // destination blocks that were read, modified and written
	Narrowed int64 // transfers that were repeated in smaller pieces
}

// Result is what one call has done.
type Result struct {
	Stats
	// Failures is sorted by destination offset; neighbours with the same cause
	// are one entry.
	Failures []Failure
}

// Mismatch is a run of different bytes: Src and Dst are the offsets of the
// first byte that differs, Len reaches through the last one. Differences in one
// 512-byte sector of the destination, or in sectors next to each other, are one
// run.
type Mismatch struct {
	Src, Dst int64 // Src is -1 for Op.Zero
	Len      int64
}

// Comparison is the outcome of Compare. If the call did not end early, the ranges
// are equal exactly when there are neither Failures nor Mismatches.
type Comparison struct {
	Result
	// Mismatches is sorted by destination offset and holds at most
	// Options.MaxMismatches entries, the lowest among them.
	Mismatches []Mismatch
	// Truncated says that there are more mismatches than are listed.
	Truncated bool
}

// Observer is told what happens during a call. Any function may be nil. They
// are called one at a time, from goroutines of the engine, and should be quick.
type Observer struct {
	// Progress is called with the number of bytes that were copied or compared
	// since the last call. What failed is not among them.
	Progress func(bytes int64)
	// Done is called with what these bytes are: each part of an operation that was copied or
	// compared, in any order.
	Done func(part Op)
	// Failure is called with each failure when it happens, before neighbours
	// are joined. To stop at the first one, cancel the context in here.
	Failure func(Failure)
}

// Engine copies and compares through host memory. Calls may run concurrently
// and share the memory of the engine.
//
// The error of a call is not nil only if the call ended early: an operation
// that is out of range, a canceled context (context.Cause), too many failures.
// Then any operation of that call may be undone or half done. One that overlaps
// itself cannot be done again: it has overwritten a part of its own source.
//
// When a call returns, none of its I/O is in flight: it may return late, but
// buffers and devices are free.
//
// Nothing is flushed: call Flush on the destination.
type Engine interface {
	// Copy carries out ops in any order and concurrently. The caller promises
	// that no two of them write the same bytes and that none reads what
	// another one writes (or sets Options.Ordered). A single operation whose
	// source and destination overlap on one device is done like memmove; where
	// order matters, the call ends at the first failure (ErrStopped). src may
	// be nil if all ops are Zero.
	Copy(ctx context.Context, src, dst Device, ops iter.Seq[Op], watch Observer) (Result, error)
	// Compare reads both ranges of ops and reports where they differ.
	Compare(ctx context.Context, src, dst Device, ops iter.Seq[Op], watch Observer) (Comparison, error)
	// Close waits for running calls and releases the memory.
	Close() error
}
