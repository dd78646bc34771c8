package emulation_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/emulation/enginetest"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

func newRing(o emulation.Options) (emulation.Engine, error) { return emulation.NewRing(o) }

// TestRing: devices that are nothing but calls are served by a ring as well.
func TestRing(t *testing.T) { enginetest.Run(t, newRing) }

// overKernel makes engines on models of a ring, each of which set changes.
func overKernel(seed uint64, set func(*enginetest.Kernel)) enginetest.New {
	return func(o emulation.Options) (emulation.Engine, error) {
		seed++
		return emulation.NewRingOver(o, func(entries int) (emulation.Requests, error) {
			k := enginetest.NewKernel(entries, seed)
			set(k)
			return k, nil
		})
	}
}

// TestRingOutOfOrder: completions come in any order, short and late; some requests are not taken.
func TestRingOutOfOrder(t *testing.T) {
	enginetest.RunOver(t, overKernel(0, func(k *enginetest.Kernel) {}))
}

// asyncMemory is a device whose transfers are left to a Kernel.
func asyncMemory(name string, size int64) *enginetest.Memory {
	return enginetest.NewMemory(enginetest.Config{Name: name, Size: size, BlockSize: 512, Async: true, Hiccups: true})
}

func someBytes(seed uint64, n int) []byte {
	random, data := rand.New(rand.NewPCG(seed, 1)), make([]byte, n)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// log collects what an engine tells.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestRingTroubles: whatever the kernel refuses, all bytes are copied.
func TestRingTroubles(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*enginetest.Kernel)
		told string
	}{
		"takes nothing":           {func(k *enginetest.Kernel) { k.RefusesAfter = -1 }, ""},
		"takes nothing at last":   {func(k *enginetest.Kernel) { k.RefusesAfter = 20 }, "requests are not taken"},
		"registers no memory":     {func(k *enginetest.Kernel) { k.NoMemory = true }, "buffers are not registered"},
		"completes what is not":   {func(k *enginetest.Kernel) { k.Strange = true }, "completion of a request that was not made"},
		"completes and then ends": {func(k *enginetest.Kernel) { k.Strange, k.RefusesAfter = true, 50 }, "requests are not taken"},
	} {
		t.Run(name, func(t *testing.T) {
			var told log
			var kernels []*enginetest.Kernel
			data := someBytes(1, 1<<20)
			src, dst := asyncMemory("source", int64(len(data))), asyncMemory("destination", int64(len(data)))
			src.Fill(data)
			engine := newEngine(t, overKernel(3, func(k *enginetest.Kernel) {
				c.set(k)
				kernels = append(kernels, k)
			}), emulation.Options{QueueDepth: 4, BlockSize: 4096, Log: told.logger()})
			for round := range 3 {
				dst.Fill(make([]byte, len(data)))
				result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: int64(len(data))}}), emulation.Observer{})
				if err != nil || result.Written != int64(len(data)) || !bytes.Equal(dst.Contents(), data) {
					t.Fatalf("round %d: %v, %+v", round, err, result.Stats)
				}
			}
			if !strings.Contains(told.String(), c.told) {
				t.Errorf("nobody was told of %q: %s", c.told, told.String())
			}
			for _, k := range kernels {
				if n := k.Repeated(); n > 0 {
					t.Errorf("%d transfers had the ID of an earlier one", n)
				}
			}
		})
	}
}

// TestNoRing: where io_uring is not to be had, threads copy, and somebody is told why.
func TestNoRing(t *testing.T) {
	for _, reason := range []error{unix.ENOSYS, unix.EPERM, unix.ENOMEM, unix.EMFILE} {
		var told log
		asked := 0
		open := func(o emulation.Options) (emulation.Engine, error) {
			return emulation.NewAnyOver(o, func(int) (emulation.Requests, error) { asked++; return nil, reason })
		}
		path := filepath.Join(t.TempDir(), "file")
		data := someBytes(2, 1<<20)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		src, dst := openFile(t, path, 0), openFile(t, newFile(t, path+".copy", 1<<20), emulation.Write)
		engine := newEngine(t, open, emulation.Options{Log: told.logger()})
		for range 2 {
			result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: 1 << 20}}), emulation.Observer{})
			if err != nil || result.Written != 1<<20 {
				t.Errorf("%v: %v, %+v", reason, err, result)
			}
		}
		if err := errors.Join(dst.Flush(), src.Close(), dst.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path + ".copy"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v: wrong bytes, %v", reason, err)
		}
		if asked != 1 || !strings.Contains(told.String(), reason.Error()) {
			t.Errorf("%v: asked %d times, told %s", reason, asked, told.String())
		}
	}
}

// TestRingIsChosen: for files there is one ring, and for devices that are calls there is none.
func TestRingIsChosen(t *testing.T) {
	made := 0
	open := func(o emulation.Options) (emulation.Engine, error) {
		return emulation.NewAnyOver(o, func(entries int) (emulation.Requests, error) {
			made++
			return enginetest.NewKernel(entries, 1), nil
		})
	}
	engine := newEngine(t, open, emulation.Options{})
	calls := enginetest.NewMemory(enginetest.Config{Name: "calls", Size: 8192, BlockSize: 512})
	for _, c := range []struct {
		src, dst emulation.Device
		made     int
	}{{calls, calls, 0}, {asyncMemory("a", 8192), calls, 0}, {calls, asyncMemory("b", 8192), 0}, {asyncMemory("a", 8192), asyncMemory("b", 8192), 1}, {asyncMemory("a", 8192), asyncMemory("b", 8192), 1}} {
		_, err := engine.Copy(context.Background(), c.src, c.dst, slices.Values([]emulation.Op{{Len: 4096, Dst: 4096}}), emulation.Observer{})
		if err != nil || made != c.made {
			t.Errorf("%s to %s: %v, %d rings, want %d", c.src.Name(), c.dst.Name(), err, made, c.made)
		}
	}
}

// TestRingCanceled: when a call has returned, nothing of it is under way, whenever it was canceled.
func TestRingCanceled(t *testing.T) {
	const size = 1 << 20
	data := someBytes(3, size)
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 2))
		ctx, cancel := context.WithCancelCause(context.Background())
		at, cause := random.IntN(600), errors.New("enough")
		var mu sync.Mutex
		calls, returned := 0, false
		before := func(op string, off, n int64) {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls == at {
				cancel(cause)
			}
			if returned {
				t.Errorf("seed %d: %s of %d bytes at %d after the call has returned", seed, op, n, off)
			}
		}
		config := enginetest.Config{Name: "source", Size: size, BlockSize: 512, Async: true, Hiccups: true, Before: before}
		src := enginetest.NewMemory(config)
		config.Name = "destination"
		dst := enginetest.NewMemory(config)
		src.Fill(data)
		engine := newEngine(t, overKernel(seed, func(*enginetest.Kernel) {}), emulation.Options{QueueDepth: 1 + random.IntN(8), BlockSize: 4096})
		failures := 0
		result, err := engine.Copy(ctx, src, dst, slices.Values([]emulation.Op{{Len: size}}), emulation.Observer{Failure: func(emulation.Failure) { failures++ }})
		mu.Lock()
		returned = true
		mu.Unlock()
		if err != nil && !errors.Is(err, cause) || err == nil && ctx.Err() == nil && result.Written != size {
			t.Errorf("seed %d: %v, %+v", seed, err, result.Stats)
		}
		if failures+len(result.Failures) > 0 {
			t.Errorf("seed %d: what was called off has failed: %v", seed, result.Failures)
		}
		for _, device := range []*enginetest.Memory{src, dst} {
			if now, _ := device.InFlight(); now != 0 {
				t.Errorf("seed %d: %d transfers of %s under way", seed, now, device.Name())
			}
		}
		cancel(nil)
	}
}

// TestRingCanceledOnDevices is that with the kernel.
func TestRingCanceledOnDevices(t *testing.T) {
	const size = 16 << 20
	dir := t.TempDir()
	a := looptest.Attach(t, newFile(t, filepath.Join(dir, "a"), size), 512)
	b := looptest.Attach(t, newFile(t, filepath.Join(dir, "b"), size), 512)
	src, dst := openFile(t, a, 0), openFile(t, b, emulation.Write)
	defer src.Close()
	defer dst.Close()
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 3))
		engine := newEngine(t, newRing, emulation.Options{QueueDepth: 1 + random.IntN(16), BlockSize: 64 << 10})
		ctx, cancel := context.WithCancel(context.Background())
		stop, done := random.Int64N(size), int64(0)
		_, err := engine.Copy(ctx, src, dst, slices.Values([]emulation.Op{{Len: size}}), emulation.Observer{Progress: func(n int64) {
			if done += n; done >= stop {
				cancel()
			}
		}})
		if n := writing(t, b); n != "0" {
			t.Errorf("seed %d: %s writes under way", seed, n)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("seed %d: %v", seed, err)
		}
		cancel()
		if random.IntN(2) == 0 { // closed while a call is under way
			ended := make(chan error)
			begun := make(chan struct{})
			var once sync.Once
			go func() {
				_, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: size}}),
					emulation.Observer{Progress: func(int64) { once.Do(func() { close(begun) }) }})
				ended <- err
			}()
			<-begun
			if err := engine.Close(); err != nil {
				t.Error(err)
			}
			if n := writing(t, b); n != "0" {
				t.Errorf("seed %d: closed with %s writes under way", seed, n)
			}
			if err := <-ended; err != nil && !errors.Is(err, emulation.ErrClosed) {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
	}
}

// TestRingLeavesNothing: descriptors, memory, goroutines.
func TestRingLeavesNothing(t *testing.T) {
	const size = 4 << 20
	path := newFile(t, filepath.Join(t.TempDir(), "file"), size)
	there := func() (files, mappings, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == path || strings.Contains(to, "io_uring") || strings.Contains(to, "eventfd") {
				files++
			}
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return files, strings.Count(string(maps), "io_uring"), strings.Count(string(stacks), "emulation.(*")
	}
	before, _, _ := there() // Go's own eventfd may be there
	use := func() {
		engine, err := emulation.NewRing(emulation.Options{BlockSize: 16 << 10})
		if err != nil {
			t.Fatal(err)
		}
		src, dst := openFile(t, path, 0), openFile(t, path, emulation.Write)
		for range 3 {
			op := emulation.Op{Len: size / 2, Dst: size / 2}
			if result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{}); err != nil || result.Written != op.Len {
				t.Fatalf("%v, %+v", err, result)
			}
		}
		if err := errors.Join(src.Close(), dst.Close()); err != nil {
			t.Fatal(err)
		}
		if files, mappings, _ := there(); files != before+2 || mappings == 0 { // they are what is looked for
			t.Fatalf("%d files and %d mappings of a ring", files, mappings)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		use()
	}
	eventually(t, "gone", func() bool {
		files, mappings, goroutines := there()
		return files == before && mappings == 0 && goroutines == 0
	})
}

// TestRingTwice: a call that is under way does not keep another one from being made.
func TestRingTwice(t *testing.T) {
	const size, calls = 1 << 20, 4
	data := someBytes(4, size)
	src, dst := asyncMemory("source", size), asyncMemory("destination", calls*size)
	src.Fill(data)
	engine := newEngine(t, overKernel(5, func(*enginetest.Kernel) {}), emulation.Options{QueueDepth: 3, BlockSize: 16 << 10})
	var running sync.WaitGroup
	for i := range int64(calls) {
		running.Go(func() {
			ops := slices.Values([]emulation.Op{{Dst: i * size, Len: size}})
			if result, err := engine.Copy(context.Background(), src, dst, ops, emulation.Observer{}); err != nil || result.Written != size {
				t.Errorf("call %d: %v, %+v", i, err, result.Stats)
			}
		})
	}
	running.Wait()
	if !bytes.Equal(dst.Contents(), bytes.Repeat(data, calls)) {
		t.Error("wrong bytes")
	}
}

// FuzzRing copies whatever comes back from the kernel, and when.
func FuzzRing(f *testing.F) {
	f.Add(uint64(1), uint8(4), uint16(3000), false, uint16(0))
	f.Add(uint64(2), uint8(1), uint16(511), true, uint16(7))
	f.Fuzz(func(t *testing.T, seed uint64, depth uint8, off uint16, strange bool, refuses uint16) {
		const size = 256 << 10
		data := someBytes(seed, size)
		src, dst := asyncMemory("source", size), asyncMemory("destination", size)
		src.Fill(data)
		engine, err := overKernel(seed, func(k *enginetest.Kernel) { k.Strange, k.RefusesAfter = strange, int(refuses) })(
			emulation.Options{QueueDepth: 1 + int(depth%16), BlockSize: 4096})
		if err != nil {
			t.Fatal(err)
		}
		op := emulation.Op{Src: int64(off), Dst: int64(off) / 2, Len: size - int64(off)}
		result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
		if err != nil || result.Written != op.Len || len(result.Failures) > 0 {
			t.Errorf("%v, %+v", err, result)
		}
		want := make([]byte, size)
		copy(want[op.Dst:], data[op.Src:])
		if !bytes.Equal(dst.Contents(), want) {
			t.Error("wrong bytes")
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
}
