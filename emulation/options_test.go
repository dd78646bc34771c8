package emulation

import (
	"errors"
	"testing"
)

func TestOptions(t *testing.T) {
	const buffer = 1<<20 + 32<<10
	for _, c := range []struct {
		in    Options
		depth int // 0: refused
	}{
		{Options{}, 8},
		{Options{QueueDepth: 32}, 32},
		{Options{QueueDepth: 32, MaxMemory: 4*buffer + 1}, 4},
		{Options{MaxMemory: buffer}, 1},
		{Options{MaxMemory: buffer - 1}, 0},
		{Options{QueueDepth: -1}, 0},
		{Options{QueueDepth: 1 << 20}, 0},
		{Options{BlockSize: 512}, 0},
		{Options{BlockSize: 5000}, 0},
		{Options{BlockSize: -4096}, 0},
		{Options{MaxMemory: -1}, 0},
		{Options{MaxFailures: -1}, 0},
		{Options{MaxMismatches: -1}, 0},
		{Options{Sparse: 3}, 0},
		{Options{Sparse: -1}, 0},
	} {
		engine, err := NewThreads(c.in)
		if c.depth == 0 {
			if !errors.Is(err, ErrOptions) {
				t.Errorf("%+v: %v", c.in, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.in, err)
			continue
		}
		if want := int64(c.depth) * buffer; engine.Memory() != want {
			t.Errorf("%+v: %d bytes, want %d", c.in, engine.Memory(), want)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}
}
