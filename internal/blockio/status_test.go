package blockio_test

import (
	"os"
	"testing"
)

// TestStatus: who asks for changes of a file is told those that have come since he asked last,
// or since it was opened, whoever else has asked.
func TestStatus(t *testing.T) {
	path := tempFile(t, 4096)
	f := open(t, path, 0)
	one, other := f.Status(), f.Status()
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]interface{ Changed() (bool, error) }{"one": one, "another": other, "who comes later": f.Status()} {
		for _, want := range []bool{true, false} {
			if got, err := s.Changed(); got != want || err != nil {
				t.Errorf("%s is told %v, %v; want %v", name, got, err, want)
			}
		}
	}
}
