package ends

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

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
