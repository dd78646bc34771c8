package emulation

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBellClosed: the number of a bell that is closed is that of somebody else's file.
func TestBellClosed(t *testing.T) {
	b, err := newBell()
	if err != nil {
		t.Fatal(err)
	}
	b.ring()
	b.silence()
	number := b.fd
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if int(f.Fd()) != number {
		if err := unix.Dup3(int(f.Fd()), number, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(number)
	}
	b.ring()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("%d bytes were written to another file, %v", info.Size(), err)
	}
}
