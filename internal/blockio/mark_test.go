package blockio

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMark: a mark is seen by others, by as many as like to look, and by nobody when
// its file is closed.
func TestMark(t *testing.T) {
	const off = 1 << 40
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *File {
		f, err := Open(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	one, other := open(), open()
	sees := func(f *File, at int64, want bool) {
		t.Helper()
		if got, err := f.Locks().Marked(at); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	sees(other, off, false)
	if err := one.Locks().Mark(off); err != nil {
		t.Fatal(err)
	}
	sees(other, off, true)
	sees(other, off, true)
	sees(other, off+1, false)
	sees(one, off, false) // its own does not count
	if err := other.Locks().Mark(off); err != nil {
		t.Fatal(err)
	}
	sees(one, off, true)
	if err := one.Locks().Mark(off); err != nil {
		t.Fatal(err)
	}
	sees(other, off, true)
	if err := one.Locks().Unmark(off); err != nil {
		t.Fatal(err)
	}
	sees(other, off, false)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	sees(one, off, false)
}
