package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/durable"
)

// mount makes a file system without a journal, and returns where it is mounted, and the file that
// holds what a crash would leave of it.
func mount(t *testing.T) (dir, image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 32<<20)); err != nil {
		t.Fatal(err)
	}
	return looptest.Ext4(t, image, ""), image
}

// TestName: what was made durable is on the disk under its name, whichever way the name was given.
func TestName(t *testing.T) {
	dir, image := mount(t)
	link := filepath.Join(t.TempDir(), "link")
	for _, c := range []struct {
		name string
		path func(f *os.File) string
		mode os.FileMode // of its directory
	}{
		{"plain", (*os.File).Name, 0o700},
		{"link", func(f *os.File) string { return link }, 0o700},
		{"descriptor", func(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }, 0o700},
		{"unreadable", (*os.File).Name, 0o300},
		{"elsewhere", func(*os.File) string { return image }, 0o700},
		{"nowhere", func(f *os.File) string { return f.Name() + ".not" }, 0o700},
	} {
		t.Run(c.name, func(t *testing.T) {
			restrict(t)
			name := "needle-" + c.name
			within := filepath.Join(dir, "in-"+c.name)
			if err := os.Mkdir(within, c.mode); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(filepath.Join(within, name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			os.Remove(link) // that of the case before
			if err := os.Symlink(f.Name(), link); err != nil {
				t.Fatal(err)
			}
			if err := durable.Name(int(f.Fd()), c.path(f)); err != nil {
				t.Fatal(err)
			}
			if onDisk, err := os.ReadFile(image); err != nil || !bytes.Contains(onDisk, []byte(name)) {
				t.Errorf("%s is not on the disk, %v", name, err)
			}
		})
	}
}

// restrict has permissions count for the rest of the test, as they do for those who are not root.
func restrict(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	if err := unix.Capset(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
}

// TestNoName: what has no name, because it was removed, needs none.
func TestNoName(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(os.Remove(f.Name()), durable.Name(int(f.Fd()), f.Name())); err != nil {
		t.Error(err)
	}
}

// TestWithoutSync: a file system whose directories cannot be synced is written as a whole.
func TestWithoutSync(t *testing.T) {
	dir, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Fsync(int(dir.Fd())); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("it can be synced: %v", err)
	}
	if err := durable.Directory(dir); err != nil {
		t.Error(err)
	}
}

// TestFails: what could not be made durable is not said to be.
func TestFails(t *testing.T) {
	dir, _ := mount(t)
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	// EXT4_IOC_SHUTDOWN, fs/ext4/ext4.h; EXT4_GOING_FLAGS_NOLOGFLUSH
	const shutdown, noFlush = 0x8004587D, 2
	if err := unix.IoctlSetPointerInt(int(at.Fd()), shutdown, noFlush); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"name": durable.Name(int(f.Fd()), f.Name()), "open directory": durable.Directory(at), "directory": durable.Names(dir),
	} {
		if !errors.Is(err, unix.EIO) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := durable.Names(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there")
	}
}
