package enginetest

import (
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
)

// New makes an engine.
type New func(emulation.Options) (emulation.Engine, error)

// Storage is a Device whose bytes the suite can set and see. If it is an
// io.Closer, it is closed when it is no longer needed.
type Storage interface {
	emulation.Device
	Contents() []byte
	Fill([]byte)
}

// Run runs the whole suite.
func Run(t *testing.T, open New) {
	memory := func(size int64, block int) Storage {
		return NewMemory(Config{Name: "memory", Size: size, BlockSize: block, Hiccups: true})
	}
	t.Run("CopyWithFaults", func(t *testing.T) { rapid.Check(t, suite{open}.copyWithFaults) })
	RunOn(t, open, memory)
	t.Run("Exact", func(t *testing.T) {
		RunOn(t, open, func(size int64, block int) Storage {
			return NewMemory(Config{Name: "exact", Size: size, BlockSize: block, Exact: true, Hiccups: true})
		})
	})
	t.Run("ExactNeedsNoRead", suite{open}.exactNeedsNoRead)
	t.Run("CompareWithFaults", func(t *testing.T) { rapid.Check(t, suite{open}.compareWithFaults) })
	t.Run("NeighboursInOneBlock", suite{open}.neighbours)
	t.Run("MergeNeedsRead", suite{open}.mergeNeedsRead)
	t.Run("FlawInMergedBlock", suite{open}.flawInMergedBlock)
	t.Run("CanceledWhileNarrowing", suite{open}.canceledWhileNarrowing)
	t.Run("StoppedInOrder", suite{open}.stoppedInOrder)
	t.Run("Sparse", suite{open}.sparse)
	t.Run("FlawsInComparedBlock", suite{open}.flawsInComparedBlock)
	t.Run("ZeroUnsupported", suite{open}.zeroUnsupported)
	t.Run("EndsEarly", suite{open}.endsEarly)
	t.Run("OtherErrorsAreNotNarrowed", suite{open}.otherErrors)
	t.Run("StallsAreBounded", suite{open}.stalls)
	t.Run("OutOfRange", suite{open}.outOfRange)
	t.Run("BlockSizes", suite{open}.blockSizes)
	t.Run("Canceled", suite{open}.canceled)
	t.Run("TooManyFailures", suite{open}.tooManyFailures)
	t.Run("MismatchesAreBounded", suite{open}.boundedMismatches)
	t.Run("DepthIsBounded", suite{open}.boundedDepth)
	t.Run("Closed", suite{open}.closed)
}

// RunOn runs what can be run on any storage, without faults. create is asked for a
// size and a block size, and may choose another block size.
func RunOn(t *testing.T, open New, create func(size int64, block int) Storage) {
	t.Run("Copy", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { suite{open}.copies(t, create) })
	})
	t.Run("Overlap", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { suite{open}.overlap(t, create) })
	})
	t.Run("Ordered", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { suite{open}.ordered(t, create) })
	})
	t.Run("Compare", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { suite{open}.compare(t, create) })
	})
}

type suite struct{ open New }

// release closes storage that wants it.
func release(t failer, storage ...Storage) {
	t.Helper()
	for _, s := range storage {
		if c, ok := s.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
	}
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (s suite) engine(t failer, options emulation.Options) emulation.Engine {
	t.Helper()
	engine, err := s.open(options)
	if err != nil {
		t.Fatalf("engine: %v", err)
	}
	return engine
}

func closeEngine(t failer, engine emulation.Engine) {
	t.Helper()
	if err := engine.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func firstDifference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("byte %d (sector %d) is %#x, want %#x", i, i/sectorSize, got[i], want[i])
		}
	}
	return ""
}
