package emulation_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

// FIFREEZE and FITHAW, include/uapi/linux/fs.h.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// frozenDevice is a block device whose writes do not end before thaw is called: its file lies on
// a file system that is frozen.
func frozenDevice(t *testing.T, size int64) (device string, thaw func()) {
	t.Helper()
	dir := t.TempDir()
	below := looptest.Attach(t, newFile(t, filepath.Join(dir, "below"), 4*size), 512)
	if out, err := exec.Command("mkfs.ext4", "-q", below).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	mountpoint := filepath.Join(dir, "mnt")
	if err := errors.Join(os.Mkdir(mountpoint, 0o700), unix.Mount(below, mountpoint, "ext4", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mountpoint, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path := filepath.Join(mountpoint, "file")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	device = looptest.Attach(t, path, 512)
	root, err := os.Open(mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(root.Fd()), fiFreeze, 0); err != nil {
		t.Fatal(err)
	}
	frozen := true
	thaw = func() {
		if !frozen {
			return
		}
		frozen = false
		if err := errors.Join(unix.IoctlSetInt(int(root.Fd()), fiThaw, 0), root.Close()); err != nil {
			t.Errorf("thaw: %v", err)
		}
	}
	t.Cleanup(thaw)
	return device, thaw
}

// writing tells how many writes a device has not done yet.
func writing(t *testing.T, device string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(device), "inflight"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))[1]
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

// TestKilled: what a process that was killed has asked the kernel to write keeps the destination
// claimed and locked until it is written.
func TestKilled(t *testing.T) {
	const size = 4 << 20
	device, thaw := frozenDevice(t, size)
	src := newFile(t, filepath.Join(t.TempDir(), "src"), size)
	if err := os.WriteFile(src, bytes.Repeat([]byte("killed!\n"), size/8), 0o600); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestChildToBeKilled$")
	child.Env = append(os.Environ(), "TO_BE_KILLED="+src+":"+device)
	child.Stdout, child.Stderr = os.Stderr, os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writing", func() bool { return writing(t, device) != "0" })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // says that it was killed
	other, err := emulation.Open(device, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 100 {
		if _, err := emulation.Open(device, emulation.Write|emulation.Exclusive); !errors.Is(err, unix.EBUSY) {
			t.Fatalf("open: %v", err)
		}
		if marked, err := other.Locks().Marked(7); err != nil || !marked {
			t.Fatalf("the lock is gone, %v", err)
		}
	}
	if writing(t, device) == "0" {
		t.Fatal("the device was not slow")
	}
	thaw()
	eventually(t, "released", func() bool {
		f, err := emulation.Open(device, emulation.Write|emulation.Exclusive)
		if err != nil {
			return false
		}
		defer f.Close()
		if n := writing(t, device); n != "0" {
			t.Errorf("claimed with %s writes under way", n)
		}
		return true
	})
	if marked, err := other.Locks().Marked(7); err != nil || marked {
		t.Errorf("there is a lock, %v", err)
	}
}

// TestChildToBeKilled is the process that is killed.
func TestChildToBeKilled(t *testing.T) {
	from, to, ok := strings.Cut(os.Getenv("TO_BE_KILLED"), ":")
	if !ok {
		return // it is nobody's child
	}
	src, dst := openFile(t, from, 0), openFile(t, to, emulation.Write|emulation.Exclusive)
	if err := dst.Locks().Mark(7); err != nil {
		t.Fatal(err)
	}
	engine, err := emulation.NewRing(emulation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: dst.Size()}}), emulation.Observer{})
	t.Fatalf("not killed: %v", err)
}
