package emulation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/emulation/enginetest"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

// storage is a real file for the suite, read and filled through the page cache.
type storage struct {
	*emulation.File
	t    testing.TB
	size int64 // what the suite asked for: a device can be longer
}

func (s storage) Contents() []byte {
	f, err := os.Open(s.Path())
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		s.t.Fatal(err)
	}
	if info.Mode().IsRegular() && info.Size() != s.size {
		s.t.Fatalf("the file has now %d bytes, not %d", info.Size(), s.size)
	}
	data := make([]byte, s.size)
	if _, err := io.ReadFull(f, data); err != nil {
		s.t.Fatal(err)
	}
	return data
}

func (s storage) Fill(data []byte) {
	f, err := os.OpenFile(s.Path(), os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		s.t.Fatal(err)
	}
}

func openFile(t testing.TB, path string, mode blockio.Mode) *emulation.File {
	t.Helper()
	f, err := emulation.Open(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newFile(t testing.TB, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// engines are those that there are.
var engines = map[string]enginetest.New{"threads": newThreads, "ring": newRing, "any": emulation.New}

// onEach runs a test for each engine.
func onEach(t *testing.T, test func(t *testing.T, open enginetest.New)) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func newEngine(t *testing.T, open enginetest.New, options emulation.Options) emulation.Engine {
	t.Helper()
	engine, err := open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// TestFiles uses direct I/O where the file system of the temporary directory has
// it, and the page cache; and those of a file system in memory.
func TestFiles(t *testing.T) {
	onEach(t, func(t *testing.T, open enginetest.New) {
		for name, c := range map[string]struct {
			dir  string
			mode emulation.Mode
		}{
			"direct":   {t.TempDir(), emulation.Write},
			"buffered": {t.TempDir(), emulation.Write | emulation.Buffered},
			"memory":   {inMemory(t), emulation.Write},
		} {
			t.Run(name, func(t *testing.T) {
				number := 0
				enginetest.RunOn(t, open, func(size int64, _ int) enginetest.Storage {
					number++
					path := newFile(t, filepath.Join(c.dir, fmt.Sprint(number)), size)
					return storage{openFile(t, path, c.mode), t, size}
				})
			})
		}
	})
}

// inMemory is a directory of a tmpfs.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "emulation")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestBlockDevices(t *testing.T) {
	const largest = 512 << 10
	onEach(t, func(t *testing.T, open enginetest.New) {
		for _, block := range []int{512, 4096} {
			t.Run(fmt.Sprint(block), func(t *testing.T) {
				dir := t.TempDir()
				var devices []string
				for i := range 2 {
					path := newFile(t, filepath.Join(dir, fmt.Sprint(i)), largest)
					devices = append(devices, looptest.Attach(t, path, block))
				}
				next := 0
				enginetest.RunOn(t, open, func(size int64, _ int) enginetest.Storage {
					next++
					return storage{openFile(t, devices[next%2], blockio.Write), t, size}
				})
			})
		}
	})
}

// TestOneFileTwice: a device that is open twice is recognised, so that an
// overlapping copy goes in the right order.
func TestOneFileTwice(t *testing.T) { onEach(t, oneFileTwice) }

func oneFileTwice(t *testing.T, open enginetest.New) {
	const size = 1 << 20
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	src, dst := openFile(t, path, 0), openFile(t, path, blockio.Write)
	defer src.Close()
	defer dst.Close()
	engine := newEngine(t, open, emulation.Options{BlockSize: 4096})
	op := emulation.Op{Src: 0, Dst: 5000, Len: size - 5000}
	if result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{}); err != nil || result.Written != op.Len {
		t.Fatalf("%v, %+v", err, result)
	}
	if err := dst.Flush(); err != nil {
		t.Fatal(err)
	}
	copy(data[op.Dst:], data[:op.Len])
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("wrong content, %v", err)
	}
}

// TestReadOnlyDestination: the errno of the kernel comes through, named once.
func TestReadOnlyDestination(t *testing.T) { onEach(t, readOnlyDestination) }

func readOnlyDestination(t *testing.T, open enginetest.New) {
	path := newFile(t, filepath.Join(t.TempDir(), "file"), 8192)
	file := openFile(t, path, 0)
	defer file.Close()
	engine := newEngine(t, open, emulation.Options{})
	ops := slices.Values([]emulation.Op{{Dst: 4096, Len: 4096}})
	result, err := engine.Copy(context.Background(), file, file, ops, emulation.Observer{})
	if err != nil || len(result.Failures) != 1 {
		t.Fatalf("%v, %+v", err, result)
	}
	want := fmt.Sprintf("write %s: 4096 bytes at byte 4096 (sector 8): %v", path, unix.EBADF)
	if got := result.Failures[0].Err; !errors.Is(got, unix.EBADF) || got.Error() != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// read counts how often a file is read.
type read struct {
	*emulation.File
	times *atomic.Int64
}

func (r read) ReadAt(p []byte, off int64) (int, error) {
	r.times.Add(1)
	return r.File.ReadAt(p, off)
}

// TestEdges: what is next to the bytes that are copied belongs to somebody else, who writes it at the
// same moment. So it is not read to be written again.
func TestEdges(t *testing.T) {
	const size, start, length = 64 << 10, 4001, 40000
	dir := t.TempDir()
	a, b := newFile(t, filepath.Join(dir, "a"), size), newFile(t, filepath.Join(dir, "b"), size)
	data := someBytes(9, size)
	if err := os.WriteFile(a, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var times atomic.Int64
	src, dst := openFile(t, a, 0), read{openFile(t, b, emulation.Write), &times}
	defer src.Close()
	defer dst.Close()
	engine := newEngine(t, newThreads, emulation.Options{})
	op := emulation.Op{Src: start, Dst: start, Len: length}
	if result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{}); err != nil || result.Written != length {
		t.Fatalf("%v, %+v", err, result)
	}
	want := make([]byte, size)
	copy(want[start:], data[start:start+length])
	if got, err := os.ReadFile(b); err != nil || !bytes.Equal(got, want) {
		t.Errorf("wrong bytes, %v", err)
	}
	if n := times.Load(); n > 0 {
		t.Errorf("the destination was read %d times", n)
	}
}

// TestCutOff: a file that has become shorter is not made longer again, by nobody.
func TestCutOff(t *testing.T) { onEach(t, cutOff) }

func cutOff(t *testing.T, open enginetest.New) {
	const size = 1 << 20
	dir := t.TempDir()
	a, b := newFile(t, filepath.Join(dir, "a"), size), newFile(t, filepath.Join(dir, "b"), size)
	src, dst := openFile(t, a, 0), openFile(t, b, emulation.Write)
	defer src.Close()
	defer dst.Close()
	if err := os.Truncate(b, size/2); err != nil {
		t.Fatal(err)
	}
	engine := newEngine(t, open, emulation.Options{BlockSize: 64 << 10})
	for _, op := range []emulation.Op{{Len: size}, {Dst: size / 2, Len: size / 2}, {Dst: size - 100, Len: 100}} {
		result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
		if err != nil || result.Failed != op.Len || len(result.Failures) == 0 || !errors.Is(result.Failures[0].Err, blockio.ErrResized) {
			t.Errorf("%+v: %v, %+v", op, err, result)
		}
	}
	if info, err := os.Stat(b); err != nil || info.Size() != size/2 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// TestLargestFile: files can be so long that their last block ends nowhere.
func TestLargestFile(t *testing.T) { onEach(t, largestFile) }

func largestFile(t *testing.T, open enginetest.New) {
	const size, at = math.MaxInt64, math.MaxInt64 - 5000
	largest := func() string {
		fd, err := unix.MemfdCreate("largest", unix.MFD_CLOEXEC)
		if err == nil {
			err = unix.Ftruncate(fd, size)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	a, b := largest(), largest()
	src, dst, out := openFile(t, a, blockio.Write), openFile(t, b, blockio.Write), openFile(t, a, 0)
	defer src.Close()
	defer dst.Close()
	defer out.Close()
	data := bytes.Repeat([]byte("largest"), 5000)[:5000]
	if n, err := src.WriteAt(data, at); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	engine := newEngine(t, open, emulation.Options{})
	for _, op := range []emulation.Op{{Src: at, Dst: at, Len: 5000}, {Src: size - 1, Dst: size - 1, Len: 1}} {
		result, err := engine.Copy(context.Background(), out, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
		if err != nil || result.Written != op.Len {
			t.Errorf("%v, %+v", err, result)
		}
	}
	got := make([]byte, 5000)
	if _, err := dst.ReadAt(got, at); err != nil || !bytes.Equal(got, data) {
		t.Errorf("wrong bytes, %v", err)
	}
}

// null is a device that costs nothing.
type null struct{ name string }

func (null) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (null) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (null) Zero(int64, int64) error                { return nil }
func (null) Flush() error                           { return nil }
func (null) BlockSize() int                         { return 4096 }
func (null) WriteUnit() int                         { return 4096 }
func (null) Size() int64                            { return 1 << 50 }
func (d null) Name() string                         { return d.name }
func (d null) ID() string                           { return d.name }

// TestAllocations: what a call allocates does not depend on its length.
func TestAllocations(t *testing.T) {
	engine := newEngine(t, emulation.New, emulation.Options{BlockSize: 4096, QueueDepth: 4})
	for name, op := range map[string]emulation.Op{
		"aligned": {Dst: 0, Len: 4096}, "merged": {Dst: 100, Len: 4096}, "zero": {Dst: 100, Len: 9000, Zero: true},
	} {
		run := func(pieces int64) float64 {
			return testing.AllocsPerRun(5, func() {
				ops := func(yield func(emulation.Op) bool) {
					for i := range pieces {
						op := op
						op.Dst += i << 20
						if !yield(op) {
							return
						}
					}
				}
				if _, err := engine.Copy(context.Background(), null{"a"}, null{"b"}, ops, emulation.Observer{}); err != nil {
					t.Fatal(err)
				}
			})
		}
		if few, many := run(10), run(2010); many-few > 20 {
			t.Errorf("%s: %v allocations for 10 operations, %v for 2010", name, few, many)
		}
	}
}

func BenchmarkCopyFile(b *testing.B) {
	const size = 64 << 20
	dir := b.TempDir()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i>>12) | 1
	}
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, path := range []string{from, to} { // both allocated: no metadata work in the loop
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	src, dst := openFile(b, from, 0), openFile(b, to, blockio.Write)
	defer src.Close()
	defer dst.Close()
	if err := errors.Join(src.Sync(), dst.Sync()); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		engine string
		depth  int
	}{{"threads", 1}, {"threads", 8}, {"threads", 32}, {"ring", 1}, {"ring", 8}, {"ring", 32}} {
		b.Run(fmt.Sprintf("%s/depth=%d", c.engine, c.depth), func(b *testing.B) {
			engine, err := engines[c.engine](emulation.Options{QueueDepth: c.depth})
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close()
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				ops := slices.Values([]emulation.Op{{Len: size}})
				result, err := engine.Copy(context.Background(), src, dst, ops, emulation.Observer{})
				if err != nil || result.Written != size {
					b.Fatalf("%v, %+v", err, result)
				}
				if err := dst.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
