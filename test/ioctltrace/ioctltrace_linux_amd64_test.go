package ioctltrace

import (
	"io"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestIoctls: ls asks whether its output is a terminal.
func TestIoctls(t *testing.T) {
	seen := 0
	err := Run(exec.Command("ls", "--color=auto", "/"), func(request, arg uint64, memory io.ReaderAt) error {
		if request != unix.TCGETS {
			return nil
		}
		seen++
		_, err := memory.ReadAt(make([]byte, 4), int64(arg))
		return err
	})
	if err != nil || seen == 0 {
		t.Errorf("seen %d times, %v", seen, err)
	}
	if err := Run(exec.Command("ls", "/nonexistent"), func(uint64, uint64, io.ReaderAt) error { return nil }); err == nil {
		t.Error("a program that failed did well")
	}
}
