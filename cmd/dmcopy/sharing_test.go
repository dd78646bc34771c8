package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// numbered is contents of which no two places are equal.
func numbered(size int) []byte {
	data := make([]byte, 0, size+16)
	for len(data) < size {
		data = fmt.Appendf(data, "%d,", len(data))
	}
	return data[:size]
}

// Two copies write to one block of a file, each its own bytes of it.
func TestTwoCopiesShareABlock(t *testing.T) {
	const size, middle = 40000, 20003
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	data := numbered(size)
	if err := os.WriteFile(src, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 40 {
		if err := os.WriteFile(dst, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		var both []*exec.Cmd
		for _, part := range [][2]int{{0, middle}, {middle, size - middle}} {
			cmd := exec.Command("dmcopy", "copy", "--range", fmt.Sprintf("%d:%d:%d", part[0], part[0], part[1]), src, dst)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			both = append(both, cmd)
		}
		for _, cmd := range both {
			if err := cmd.Wait(); err != nil {
				t.Errorf("round %d: %v: %v", round, cmd.Args, err)
			}
		}
		if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("round %d: wrong bytes, %v", round, err)
		}
	}
}
