package enginetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
)

// shrunk is a device that ends before its Size, as a file that is truncated
// while it is read.
type shrunk struct {
	*Memory
	end int64
}

func (d shrunk) ReadAt(p []byte, off int64) (int, error) {
	if off >= d.end {
		return 0, nil
	}
	return d.Memory.ReadAt(p[:min(int64(len(p)), d.end-off)], off)
}

// Async: the Kernel knows nothing of the end.
func (shrunk) Async() emulation.Start { return nil }

func (s suite) endsEarly(t *testing.T) {
	src := shrunk{s.memory(Config{Name: "source", Size: 8192, BlockSize: 512}), 1536}
	dst := s.memory(Config{Name: "destination", Size: 8192, BlockSize: 512})
	src.Fill(bytes.Repeat([]byte{1}, 8192))
	engine := s.engine(t, emulation.Options{BlockSize: 4096})
	defer closeEngine(t, engine)
	ops := slices.Values([]emulation.Op{{Len: 4096}})
	result, err := engine.Copy(context.Background(), src, dst, ops, emulation.Observer{})
	if err != nil || len(result.Failures) != 1 {
		t.Fatalf("copy: %v, %+v", err, result)
	}
	f := result.Failures[0]
	var where *emulation.Error
	if !errors.As(f.Err, &where) || where.Offset != 1536 || f.Op != (emulation.Op{Src: 1536, Dst: 1536, Len: 2560}) {
		t.Fatalf("failure %+v", f)
	}
	if result.Written != 1536 {
		t.Fatalf("stats %+v", result.Stats)
	}
}

// otherErrors: a device that is gone is not asked for each sector.
func (s suite) otherErrors(t *testing.T) {
	var calls int
	var mu sync.Mutex
	src := s.memory(Config{
		Name: "source", Size: 1 << 20, BlockSize: 512, ReadFaults: map[int64]error{100: unix.ENODEV},
		Before: func(string, int64, int64) { mu.Lock(); calls++; mu.Unlock() },
	})
	dst := s.memory(Config{Name: "destination", Size: 1 << 20, BlockSize: 512})
	engine := s.engine(t, emulation.Options{BlockSize: 1 << 20})
	defer closeEngine(t, engine)
	result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: 1 << 20}}), emulation.Observer{})
	if err != nil || result.Failed != 1<<20 || len(result.Failures) != 1 || !errors.Is(result.Failures[0].Err, unix.ENODEV) {
		t.Fatalf("copy: %v, %+v", err, result)
	}
	if calls != 1 || result.Narrowed != 0 {
		t.Fatalf("%d reads, %+v", calls, result.Stats)
	}
}

// stuck is a device that is always interrupted.
type stuck struct{ *Memory }

func (stuck) ReadAt([]byte, int64) (int, error) { return 0, unix.EINTR }

func (stuck) Async() emulation.Start { return nil }

func (s suite) stalls(t *testing.T) {
	src := stuck{s.memory(Config{Name: "source", Size: 8192, BlockSize: 512})}
	dst := s.memory(Config{Name: "destination", Size: 8192, BlockSize: 512})
	engine := s.engine(t, emulation.Options{BlockSize: 4096})
	defer closeEngine(t, engine)
	result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: 8192}}), emulation.Observer{})
	if err != nil || result.Failed != 8192 || !errors.Is(result.Failures[0].Err, unix.EINTR) {
		t.Fatalf("copy: %v, %+v", err, result)
	}
}

func (s suite) outOfRange(t *testing.T) {
	src := s.memory(Config{Name: "source", Size: 8192, BlockSize: 512})
	dst := s.memory(Config{Name: "destination", Size: 4096, BlockSize: 512})
	engine := s.engine(t, emulation.Options{})
	defer closeEngine(t, engine)
	for _, op := range []emulation.Op{
		{Len: -1},
		{Src: -1, Len: 1},
		{Dst: -512, Len: 1},
		{Len: 4097},
		{Src: 8192, Len: 1},
		{Src: 1<<63 - 1, Len: 1},
		{Len: 1<<63 - 1},
		{Dst: 4000, Len: 97, Zero: true},
	} {
		_, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
		if !errors.Is(err, emulation.ErrRange) {
			t.Errorf("copy of %+v: %v", op, err)
		}
		_, err = engine.Compare(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
		if !errors.Is(err, emulation.ErrRange) {
			t.Errorf("compare of %+v: %v", op, err)
		}
	}
	_, err := engine.Copy(context.Background(), nil, dst, slices.Values([]emulation.Op{{Len: 1}}), emulation.Observer{})
	if !errors.Is(err, emulation.ErrRange) {
		t.Errorf("copy from nothing: %v", err)
	}
}

// blockSizes: devices whose blocks the buffers cannot hold are refused, others
// with large blocks are not.
func (s suite) blockSizes(t *testing.T) {
	const size = 256 << 10
	engine := s.engine(t, emulation.Options{BlockSize: 64 << 10})
	defer closeEngine(t, engine)
	for _, c := range []struct {
		block int
		err   error
	}{{0, emulation.ErrBlockSize}, {1000, emulation.ErrBlockSize}, {-512, emulation.ErrBlockSize}, {16 << 10, nil}, {128 << 10, emulation.ErrBlockSize}} {
		src := s.memory(Config{Name: "source", Size: size, BlockSize: c.block})
		dst := s.memory(Config{Name: "destination", Size: size, BlockSize: 512})
		data := bytes.Repeat([]byte{7}, size)
		src.Fill(data)
		ops := slices.Values([]emulation.Op{{Src: 1, Dst: 1, Len: size - 1}})
		_, err := engine.Copy(context.Background(), src, dst, ops, emulation.Observer{})
		if !errors.Is(err, c.err) {
			t.Errorf("copy with blocks of %d bytes: %v", c.block, err)
		}
		comparison, err := engine.Compare(context.Background(), src, dst, ops, emulation.Observer{})
		if !errors.Is(err, c.err) || len(comparison.Mismatches)+len(comparison.Failures) > 0 {
			t.Errorf("compare with blocks of %d bytes: %v, %+v", c.block, err, comparison)
		}
	}
}

// canceled: the call ends with the cause, and nothing is in flight any more.
func (s suite) canceled(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	src := s.memory(Config{
		Name: "source", Size: 1 << 20, BlockSize: 512,
		Before: func(_ string, off, _ int64) {
			if off == 64<<10 {
				cancel(cause)
			}
		},
	})
	dst := s.memory(Config{Name: "destination", Size: 1 << 20, BlockSize: 512})
	engine := s.engine(t, emulation.Options{QueueDepth: 2, BlockSize: 4096})
	defer closeEngine(t, engine)
	result, err := engine.Copy(ctx, src, dst, slices.Values([]emulation.Op{{Len: 1 << 20}}), emulation.Observer{})
	if !errors.Is(err, cause) {
		t.Fatalf("copy: %v", err)
	}
	if result.Written < 32<<10 || result.Written > 128<<10 {
		t.Errorf("%d bytes written, canceled at %d", result.Written, 64<<10)
	}
	for _, device := range []*Memory{src, dst} {
		if now, _ := device.InFlight(); now != 0 {
			t.Errorf("%d transfers in flight on %s", now, device.Name())
		}
	}
	if _, err := engine.Copy(ctx, src, dst, slices.Values([]emulation.Op{{Len: 4096}}), emulation.Observer{}); !errors.Is(err, cause) {
		t.Errorf("copy after that: %v", err)
	}
}

// canceledWhileNarrowing: a canceled call does not go through the sectors of a
// bad device, but says what it has lost.
func (s suite) canceledWhileNarrowing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	reads := 0
	src := s.memory(Config{
		Name: "source", Size: 1 << 20, BlockSize: 512, ReadFaults: map[int64]error{0: unix.EIO},
		Before: func(string, int64, int64) { reads++; cancel() },
	})
	dst := s.memory(Config{Name: "destination", Size: 1 << 20, BlockSize: 512})
	engine := s.engine(t, emulation.Options{QueueDepth: 1})
	defer closeEngine(t, engine)
	ops := slices.Values([]emulation.Op{{Len: 1 << 20}})
	result, _ := engine.Copy(ctx, src, dst, ops, emulation.Observer{})
	if reads != 1 || result.Failed != 1<<20 || len(result.Failures) != 1 || !errors.Is(result.Failures[0].Err, unix.EIO) {
		t.Fatalf("%d reads, %+v", reads, result)
	}
}

func (s suite) tooManyFailures(t *testing.T) {
	faults := map[int64]error{}
	for i := int64(0); i < 2048; i += 2 {
		faults[i] = unix.EIO
	}
	src := s.memory(Config{Name: "source", Size: 1 << 20, BlockSize: 512, ReadFaults: faults})
	dst := s.memory(Config{Name: "destination", Size: 1 << 20, BlockSize: 512})
	engine := s.engine(t, emulation.Options{QueueDepth: 1, BlockSize: 4096, MaxFailures: 10})
	defer closeEngine(t, engine)
	var seen int
	result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: 1 << 20}}),
		emulation.Observer{Failure: func(emulation.Failure) { seen++ }})
	if !errors.Is(err, emulation.ErrTooManyFailures) {
		t.Fatalf("copy: %v", err)
	}
	if n := len(result.Failures); n <= 10 || n > 30 || seen != n {
		t.Errorf("%d failures, %d seen", n, seen)
	}
}

// boundedDepth: concurrent calls share the buffers of the engine.
func (s suite) boundedDepth(t *testing.T) {
	const depth, calls = 3, 4
	engine := s.engine(t, emulation.Options{QueueDepth: depth, BlockSize: 4096})
	defer closeEngine(t, engine)
	src := s.memory(Config{Name: "source", Size: 1 << 20, BlockSize: 512})
	dst := s.memory(Config{Name: "destination", Size: calls << 20, BlockSize: 512})
	var running sync.WaitGroup
	for i := range int64(calls) {
		running.Go(func() {
			ops := slices.Values([]emulation.Op{{Dst: i << 20, Len: 1 << 20}})
			if _, err := engine.Copy(context.Background(), src, dst, ops, emulation.Observer{}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	for _, device := range []*Memory{src, dst} {
		if _, most := device.InFlight(); most > depth {
			t.Errorf("%d transfers in flight on %s", most, device.Name())
		}
	}
}

func (s suite) closed(t *testing.T) {
	device := s.memory(Config{Name: "memory", Size: 8192, BlockSize: 512})
	engine := s.engine(t, emulation.Options{BlockSize: 4096})
	closeEngine(t, engine)
	closeEngine(t, engine)
	ops := slices.Values([]emulation.Op{{Len: 4096, Dst: 4096}})
	if _, err := engine.Copy(context.Background(), device, device, ops, emulation.Observer{}); !errors.Is(err, emulation.ErrClosed) {
		t.Errorf("copy: %v", err)
	}
}
