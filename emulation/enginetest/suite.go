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
func Run(t *testing.T, open New) { suite{open: open}.run(t) }

// RunOver runs the whole suite with an engine on a [Kernel].
func RunOver(t *testing.T, open New) { suite{open: open, async: true}.run(t) }

func (s suite) run(t *testing.T) {
	memory := func(size int64, block int) Storage {
		return s.memory(Config{Name: "memory", Size: size, BlockSize: block, Hiccups: true})
	}
	t.Run("CopyWithFaults", func(t *testing.T) { rapid.Check(t, s.copyWithFaults) })
	s.runOn(t, memory)
	t.Run("Exact", func(t *testing.T) {
		s.runOn(t, func(size int64, block int) Storage {
			return s.memory(Config{Name: "exact", Size: size, BlockSize: block, Exact: true, Hiccups: true})
		})
	})
	t.Run("ExactNeedsNoRead", s.exactNeedsNoRead)
	t.Run("CompareWithFaults", func(t *testing.T) { rapid.Check(t, s.compareWithFaults) })
	t.Run("NeighboursInOneBlock", s.neighbours)
	t.Run("MergeNeedsRead", s.mergeNeedsRead)
	t.Run("FlawInMergedBlock", s.flawInMergedBlock)
	t.Run("CanceledWhileNarrowing", s.canceledWhileNarrowing)
	t.Run("StoppedInOrder", s.stoppedInOrder)
	t.Run("Sparse", s.sparse)
	t.Run("FlawsInComparedBlock", s.flawsInComparedBlock)
	t.Run("ZeroUnsupported", s.zeroUnsupported)
	t.Run("EndsEarly", s.endsEarly)
	t.Run("OtherErrorsAreNotNarrowed", s.otherErrors)
	t.Run("StallsAreBounded", s.stalls)
	t.Run("OutOfRange", s.outOfRange)
	t.Run("BlockSizes", s.blockSizes)
	t.Run("Canceled", s.canceled)
	t.Run("TooManyFailures", s.tooManyFailures)
	t.Run("MismatchesAreBounded", s.boundedMismatches)
	t.Run("DepthIsBounded", s.boundedDepth)
	t.Run("Closed", s.closed)
}

// RunOn runs what can be run on any storage, without faults. create is asked for a
// size and a block size, and may choose another block size.
func RunOn(t *testing.T, open New, create func(size int64, block int) Storage) {
	suite{open: open}.runOn(t, create)
}

func (s suite) runOn(t *testing.T, create func(size int64, block int) Storage) {
	t.Run("Copy", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { s.copies(t, create) })
	})
	t.Run("Overlap", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { s.overlap(t, create) })
	})
	t.Run("Ordered", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { s.ordered(t, create) })
	})
	t.Run("Compare", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { s.compare(t, create) })
	})
}

type suite struct {
	open  New
	async bool // transfers of devices are left to a Kernel
}

func (s suite) memory(config Config) *Memory {
	config.Async = s.async
	return NewMemory(config)
}

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
