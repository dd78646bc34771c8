package vm

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Aligned is n bytes of memory that direct I/O takes, until the test ends.
func Aligned(t testing.TB, n int64) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

// ReadDirect reads len(p) bytes of a device, past the page cache. Memory, position and length have to be aligned.
func ReadDirect(t testing.TB, device string, p []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
}

// WriteDirect writes to a device past the page cache, and has it made durable.
func WriteDirect(t testing.TB, device string, p []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}
