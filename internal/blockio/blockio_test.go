package blockio_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

func tempFile(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xee}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string, mode blockio.Mode) *blockio.File {
	t.Helper()
	f, err := blockio.Open(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return f
}

func buffer(t testing.TB, size int) []byte {
	t.Helper()
	pool, err := blockio.NewPool(1, size)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pool.Get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pool.Put(b)
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return b[:size]
}

func TestRegularFile(t *testing.T) {
	path := tempFile(t, 3*4096+100)
	for _, mode := range []blockio.Mode{blockio.Write, blockio.Write | blockio.Exclusive, blockio.Write | blockio.Buffered} {
		f := open(t, path, mode)
		if f.IsDevice() || f.Path() != path || f.Direct() && mode&blockio.Buffered != 0 {
			t.Errorf("mode %d: %+v", mode, f)
		}
		if !f.Direct() && f.BlockSize() != 1 || f.Direct() && f.BlockSize() < 512 {
			t.Errorf("mode %d: direct %v, blocks of %d bytes", mode, f.Direct(), f.BlockSize())
		}
		if size, err := f.Size(); err != nil || size != 3*4096+100 {
			t.Errorf("size %d, %v", size, err)
		}
		b := buffer(t, 4096)
		copy(b, bytes.Repeat([]byte{byte(mode)}, 4096))
		if n, err := f.Pwrite(b, 4096); n != 4096 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
		if err := f.Zero(8192, 4096); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Datasync(), f.Sync()); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{0xee}, 3*4096+100)
		copy(want[4096:], b)
		clear(want[8192:12288])
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("mode %d: wrong content, %v", mode, err)
		}
		clear(b)
		if n, err := f.Pread(b, 12288); n != 100 || err != nil {
			t.Errorf("read of the tail: %d, %v", n, err)
		}
		if n, err := f.Pread(b, 16384); n != 0 || err != nil {
			t.Errorf("read behind the end: %d, %v", n, err)
		}
		for name, err := range map[string]error{"BLKROGET": second(f.ReadOnly()), "BLKFLSBUF": f.Cache().Invalidate()} {
			var e *blockio.Error
			if !errors.Is(err, unix.ENOTTY) || !errors.As(err, &e) || e.Op != name || e.Path != path {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestReadOnlyDescriptor(t *testing.T) {
	f := open(t, tempFile(t, 4096), 0)
	if _, err := f.Pwrite(buffer(t, 4096), 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("write: %v", err)
	}
	if err := f.Zero(0, 4096); !errors.Is(err, unix.EBADF) {
		t.Errorf("zero: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		dir: blockio.ErrFileType, fifo: blockio.ErrFileType, "/dev/null": blockio.ErrFileType, filepath.Join(dir, "no"): os.ErrNotExist,
	} {
		var e *blockio.Error
		if _, err := blockio.Open(path, 0); !errors.Is(err, want) || !errors.As(err, &e) || e.Path != path {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// TestOpenDevice: a node that is not that of the device which is meant.
func TestOpenDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := looptest.Attach(t, path, 512)
	var st unix.Stat_t
	if err := unix.Stat(loop, &st); err != nil {
		t.Fatal(err)
	}
	major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(loop, link); err != nil {
		t.Fatal(err)
	}
	f, err := blockio.OpenDevice(link, major, minor, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, c := range []struct {
		path         string
		major, minor uint32
	}{{link, major, minor + 1}, {link, major + 1, minor}, {path, major, minor}} {
		if f, err := blockio.OpenDevice(c.path, c.major, c.minor, 0); !errors.Is(err, blockio.ErrReplaced) {
			t.Errorf("%+v: %v, %v", c, f, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	path := tempFile(t, 4096)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	a, b, c := open(t, path, 0), open(t, link, blockio.Buffered), open(t, tempFile(t, 4096), 0)
	if a.ID() != b.ID() || a.ID() == c.ID() {
		t.Errorf("%s, %s, %s", a.ID(), b.ID(), c.ID())
	}
}

func TestClosed(t *testing.T) {
	f := open(t, tempFile(t, 4096), blockio.Write)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b := buffer(t, 4096)
	for name, err := range map[string]error{
		"close": f.Close(), "size": second(f.Size()), "read": second(f.Pread(b, 0)), "write": second(f.Pwrite(b, 0)), "zero": f.Zero(0, 4096),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBlockDevice(t *testing.T) {
	for _, block := range []int{512, 4096} {
		path := tempFile(t, 1<<20)
		device := looptest.Attach(t, path, block)
		f := open(t, device, blockio.Write|blockio.Exclusive)
		if !f.IsDevice() || !f.Direct() || f.BlockSize() != block {
			t.Errorf("%+v", f)
		}
		if size, err := f.Size(); size != 1<<20 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
		if ro, err := f.ReadOnly(); ro || err != nil {
			t.Errorf("read-only %v, %v", ro, err)
		}
		if err := f.Zero(4096, 8192); err != nil {
			t.Fatal(err)
		}
		b := buffer(t, 4096)
		copy(b, bytes.Repeat([]byte{0x11}, 4096))
		if n, err := f.Pwrite(b, 0); n != 4096 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
		if _, err := f.Pwrite(b[:block], int64(block/2)); !errors.Is(err, unix.EINVAL) {
			t.Errorf("misaligned write: %v", err)
		}
		if err := errors.Join(f.Datasync(), f.Cache().Invalidate()); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{0xee}, 1<<20)
		copy(want, b)
		clear(want[4096:12288])
		if got, err := os.ReadFile(device); err != nil || !bytes.Equal(got, want) {
			t.Errorf("wrong content, %v", err)
		}
		if _, err := blockio.Open(device, blockio.Exclusive); !errors.Is(err, unix.EBUSY) {
			t.Errorf("second exclusive open: %v", err)
		}
	}
}

// TestInvalidate sees the page cache: a buffered reader keeps old bytes of a
// device that changes below it, until the cache is dropped.
func TestInvalidate(t *testing.T) {
	path := tempFile(t, 1<<20)
	device := open(t, looptest.Attach(t, path, 512), blockio.Buffered)
	b := buffer(t, 4096)
	read := func() byte {
		t.Helper()
		if n, err := device.Pread(b, 0); n != 4096 || err != nil {
			t.Fatalf("read: %d, %v", n, err)
		}
		return b[0]
	}
	if got := read(); got != 0xee {
		t.Fatalf("%#x", got)
	}
	below := open(t, path, blockio.Write)
	copy(b, bytes.Repeat([]byte{0x22}, 4096))
	if n, err := below.Pwrite(b, 0); n != 4096 || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	if got := read(); got != 0xee {
		t.Fatalf("%#x: the cache has not kept the old byte, so this test proves nothing", got)
	}
	if err := device.Cache().Invalidate(); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != 0x22 {
		t.Errorf("%#x after BLKFLSBUF", got)
	}
}

func TestPool(t *testing.T) {
	pool, err := blockio.NewPool(2, 5000)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := pool.Get(context.Background())
	b, errB := pool.Get(context.Background())
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	for _, buffer := range [][]byte{a, b} {
		if len(buffer) < 5000 || cap(buffer) != len(buffer) || !blockio.Aligned(buffer, os.Getpagesize()) {
			t.Errorf("buffer of %d bytes, capacity %d", len(buffer), cap(buffer))
		}
	}
	if pool.Len() != len(a)+len(b) {
		t.Errorf("%d bytes", pool.Len())
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := pool.Get(ctx); !errors.Is(err, cause) {
		t.Errorf("get from an empty pool: %v", err)
	}
	pool.Put(b)
	closed := make(chan error)
	go func() { closed <- pool.Close() }()
	a[0], a[len(a)-1] = 1, 1 // still mapped: Close waits for it
	pool.Put(a)
	if err := errors.Join(<-closed, pool.Close()); err != nil {
		t.Error(err)
	}
	if _, err := pool.Get(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("get after close: %v", err)
	}
	for _, bad := range [][2]int{{0, 1}, {1, 0}, {-1, 5}, {math.MaxInt, math.MaxInt}} {
		if _, err := blockio.NewPool(bad[0], bad[1]); err == nil {
			t.Errorf("pool of %v was made", bad)
		}
	}
}

// TestUse: a descriptor that somebody uses stays open, and one that is closed is used by nobody.
func TestUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := blockio.Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := f.Use()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- f.Close() }()
	for err == nil { // until somebody waits to close it
		if _, err = f.Use(); err == nil {
			f.Release()
		}
	}
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("while it is closed: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("in use: %v", err)
	}
	f.Release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if fd, err := f.Use(); !errors.Is(err, os.ErrClosed) || fd != -1 {
		t.Errorf("closed: %d, %v", fd, err)
	}
}
