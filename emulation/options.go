package emulation

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
)

// Sparse says what to do with runs of zeroes found in the source.
type Sparse int

const (
	// SparseOff writes zeroes like any other data.
	SparseOff Sparse = iota
	// SparseZero writes runs of zeroes with Device.Zero.
	SparseZero
	// SparseSkip leaves the destination alone: only correct where the caller
	// knows that the destination reads as zeroes.
	SparseSkip
)

// Options of an engine. The zero value of each field means its default.
type Options struct {
	QueueDepth    int   // transfers in flight; default 8
	BlockSize     int   // bytes of one transfer, a power of two from 4 KiB; default 1 MiB
	MaxMemory     int64 // bytes for all buffers, lowers QueueDepth; default no limit
	Sparse        Sparse
	Ordered       bool // each operation is complete before the next one begins, and a failure is the end
	MaxFailures   int  // separate ranges that may fail before a call gives up; default 65536
	MaxMismatches int  // mismatches that Compare lists; default 1024
	// Log is told how it is done, where there is a choice; nil: nobody is.
	Log *slog.Logger
}

const (
	minBlockSize = 4 << 10
	maxBlockSize = 1 << 30
)

// withDefaults fills in what is zero and refuses what makes no sense.
func (o Options) withDefaults() (Options, error) {
	o.QueueDepth = cmp.Or(o.QueueDepth, 8)
	o.BlockSize = cmp.Or(o.BlockSize, 1<<20)
	o.MaxFailures = cmp.Or(o.MaxFailures, 1<<16)
	o.MaxMismatches = cmp.Or(o.MaxMismatches, 1<<10)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.QueueDepth < 0 || o.QueueDepth > 1<<12:
		return o, fmt.Errorf("%w: queue depth %d is not within 1 and 4096", ErrOptions, o.QueueDepth)
	case o.BlockSize < minBlockSize || o.BlockSize > maxBlockSize || o.BlockSize&(o.BlockSize-1) != 0:
		return o, fmt.Errorf("%w: block size %d is not a power of two from 4 KiB to 1 GiB", ErrOptions, o.BlockSize)
	case o.MaxMemory < 0 || o.MaxFailures < 0 || o.MaxMismatches < 0:
		return o, fmt.Errorf("%w: negative limit", ErrOptions)
	case o.Sparse < SparseOff || o.Sparse > SparseSkip:
		return o, fmt.Errorf("%w: unknown sparse mode %d", ErrOptions, o.Sparse)
	}
	if o.MaxMemory > 0 {
		o.QueueDepth = int(min(int64(o.QueueDepth), o.MaxMemory/int64(o.bufferSize())))
	}
	if o.QueueDepth == 0 {
		return o, fmt.Errorf("%w: memory limit of %d bytes holds no buffer of %d bytes",
			ErrOptions, o.MaxMemory, o.bufferSize())
	}
	return o, nil
}

// bufferSize is the memory of one transfer in bytes, whole pages: a block, and
// room around it for what alignment adds.
func (o Options) bufferSize() int {
	const slack = 32 << 10
	page := os.Getpagesize()
	return (o.BlockSize + slack + page - 1) &^ (page - 1)
}
