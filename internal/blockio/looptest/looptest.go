// Package looptest gives tests a block device: a loop device over a file.
package looptest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Attach makes a loop device over the file at path, with a logical block size in
// bytes, and returns its name. It goes away at the end of the test, and also if
// the test is killed. Without root or without loop devices the test is skipped,
// but in CI (the variable CI is set) it fails: there nothing may be missing.
func Attach(t testing.TB, path string, blockSize int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "loop devices need root")
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENXIO) {
		unavailable(t, "this system has no loop devices: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	backing, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	for range 100 {
		device, err := configure(control, backing, blockSize)
		if errors.Is(err, unix.EBUSY) {
			continue // somebody else was faster
		}
		if err != nil {
			t.Fatal(err)
		}
		// Autoclear: the last close detaches it.
		t.Cleanup(func() { device.Close() })
		return device.Name()
	}
	t.Fatal("no free loop device")
	return ""
}

// Format attaches the file at path, and makes a file system of ext4 in it, without a journal. The file
// holds what a crash would leave of it.
func Format(t testing.TB, path string) string {
	t.Helper()
	disk := Attach(t, path, 512)
	if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", disk).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return disk
}

// Ext4 is where what Format makes is mounted until the end of the test.
func Ext4(t testing.TB, path, options string) string {
	t.Helper()
	disk, dir := Format(t, path), t.TempDir()
	if err := unix.Mount(disk, dir, "ext4", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func configure(control, backing *os.File, blockSize int) (*os.File, error) {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("LOOP_CTL_GET_FREE: %w", err)
	}
	device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer device.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: uint32(blockSize)}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return nil, fmt.Errorf("LOOP_CONFIGURE %s: %w", device.Name(), err)
	}
	// Who has it open for writing uses it, as the tested see it.
	return os.OpenFile(device.Name(), os.O_RDONLY, 0)
}

func unavailable(t testing.TB, why string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(why, args...)
	}
	t.Skipf(why, args...)
}
