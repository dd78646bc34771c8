package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCopy runs the program as a stranger would: it copies a file, and refuses what makes no sense.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "copy")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := bytes.Repeat([]byte("storage\n"), 1<<17)
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, want, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, src, dst).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "through this machine") {
		t.Errorf("%v: %s", err, out)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that are others, %v", len(got), err)
	}
	if out, err := exec.Command(program, src, src).CombinedOutput(); err == nil || !strings.Contains(string(out), "itself") {
		t.Errorf("onto itself: %v: %s", err, out)
	}
}
