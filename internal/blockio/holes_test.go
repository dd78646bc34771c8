package blockio

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHole: what was written, dirty or not, is data, and everything else a hole.
func TestHole(t *testing.T) {
	const page = 64 << 10 // of any machine and file system
	dir, err := os.MkdirTemp("/dev/shm", "dmcopy-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sparse")
	w, err := os.Create(path)
	if err == nil {
		_, err = w.WriteAt(make([]byte, page), 2*page)
	}
	if err = errors.Join(err, w.Truncate(5*page+17)); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if ok, err := f.Holes().Known(); !ok || err != nil {
		t.Errorf("tmpfs tells of holes: %v, %v", ok, err)
	}
	for _, c := range []struct {
		off  int64
		hole bool
		end  int64
		err  error
	}{
		{0, true, 2 * page, nil}, {page + 1, true, 2 * page, nil}, {2 * page, false, 3 * page, nil}, {3*page - 1, false, 3 * page, nil},
		{3 * page, true, 5*page + 17, nil}, {5*page + 16, true, 5*page + 17, nil}, {5*page + 17, true, 5*page + 17, unix.ENXIO},
	} {
		hole, end, err := f.Holes().At(c.off)
		if !errors.Is(err, c.err) || err == nil && (hole != c.hole || end != c.end) {
			t.Errorf("byte %d: %v up to %d, %v", c.off, hole, end, err)
		}
	}
	endless(t, path, w, f)
	device, err := Open("/proc/self/exe", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := device.Holes().At(0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
}

// endless: the kernel does not find the data of the last page before 2^63. It is data.
func endless(t *testing.T, path string, w *os.File, f *File) {
	t.Helper()
	const longest = 1<<63 - 1
	if err := w.Truncate(longest); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte{1}, longest-1); err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]struct {
		hole bool
		end  int64
	}{1 << 62: {true, longest - 2<<20 + 1}, longest - 2<<20 + 1: {false, longest}, longest - 1: {false, longest}} {
		if hole, end, err := f.Holes().At(off); hole != want.hole || end != want.end || err != nil {
			t.Errorf("byte %d of %s: %v up to %d, %v", off, path, hole, end, err)
		}
	}
	if _, _, err := f.Holes().At(longest); !errors.Is(err, unix.ENXIO) {
		t.Errorf("the end of %s: %v", path, err)
	}
}
