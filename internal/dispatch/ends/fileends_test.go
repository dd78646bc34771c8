package ends

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// TestModifiedSignOfTwoCopies: of two copies that have one source open, each is told that its status
// has changed, whichever asks first; and either is told once.
func TestModifiedSignOfTwoCopies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(t.Context(), sysblock.FS(""), path, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	one := FilesOf(src, Endpoint{}, false, slog.New(slog.DiscardHandler))
	other := FilesOf(src, Endpoint{}, false, slog.New(slog.DiscardHandler))
	ask := func(want bool) {
		t.Helper()
		for name, copy := range map[string]*Files{"one copy": &one, "the other": &other} {
			if sign, err := copy.MayBeModified(); err != nil || (sign != nil) != want {
				t.Errorf("%s is told %+v, %v; want a sign: %v", name, sign, err, want)
			}
		}
	}
	ask(false)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	ask(true)
	ask(false)
}

// TestNameOnDisk: the name of a destination is on the disk, and so is that of a file which it is
// stored in.
func TestNameOnDisk(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 32<<20)); err != nil {
		t.Fatal(err)
	}
	on := looptest.Ext4(t, image, "")
	for _, stored := range []bool{false, true} {
		name := fmt.Sprintf("needle-%v", stored)
		path, file := filepath.Join(on, name), filepath.Join(on, name)
		if stored {
			file = filepath.Join(on, "old")
		}
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if stored { // whatever makes a loop device makes its name durable
			path = looptest.Attach(t, file, 512)
			if err := os.Rename(file, filepath.Join(on, name)); err != nil {
				t.Fatal(err)
			}
		}
		dst, err := OpenDestination(t.Context(), here, path, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f := FilesOf(fileEnd("source", 512), dst, false, slog.New(slog.DiscardHandler))
		if err := errors.Join(f.Begin(), f.SyncName(), f.Close(), dst.Close()); err != nil {
			t.Error(err)
		}
		if onDisk, err := os.ReadFile(image); err != nil || !bytes.Contains(onDisk, []byte(name)) {
			t.Errorf("%s is not on the disk, %v", name, err)
		}
	}
}
