package nvme

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// fakeSystem has nodes that lead to /dev/null, which is device 1:3, and the numbers
// that the kernel is said to give: "class/name" to number.
func fakeSystem(t *testing.T, nodes []string, numbers map[string]string) system {
	t.Helper()
	s := system{t.TempDir(), sysfs.Root(t.TempDir())}
	for _, name := range nodes {
		if err := os.Symlink(os.DevNull, filepath.Join(s.dev, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, number := range numbers {
		dir := s.root.Path("sys/class", name)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "dev"), []byte(number+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestOpenNames(t *testing.T) {
	s := fakeSystem(t, nil, map[string]string{"block/nvme0n1": "259:0"})
	for _, name := range []string{"", "nvme0", "nvme0n1p1", "nvme0c1n1", "ng0n1", "sda", "../nvme0n1", "nvme0n1/", "nvme-0n1", "nvme0n1\n"} {
		if _, err := s.openNamespace(name, false); !errors.Is(err, ErrNotNVMe) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"nvme0n1", "nvme1n1"} { // without a node, and without anything
		if _, err := s.openNamespace(name, false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The generic device goes first. Which node was opened shows in the error, as none is
// that of a namespace.
func TestOpenPrefersTheGenericDevice(t *testing.T) {
	for name, c := range map[string]struct {
		numbers map[string]string
		want    error
		node    string
	}{
		"generic":         {map[string]string{"nvme-generic/ng3n12": "1:3", "block/nvme3n12": "259:3"}, unix.ENOTTY, "ng3n12"},
		"block only":      {map[string]string{"block/nvme3n12": "1:3"}, ErrNotNVMe, "nvme3n12"},
		"another generic": {map[string]string{"nvme-generic/ng3n12": "240:3", "block/nvme3n12": "259:3"}, blocks.ErrChanged, "nvme3n12"},
	} {
		s := fakeSystem(t, []string{"nvme3n12", "ng3n12"}, c.numbers)
		_, err := s.openNamespace("nvme3n12", true)
		var e *blocks.Error
		if !errors.Is(err, c.want) || !errors.As(err, &e) || filepath.Base(e.On) != c.node {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOpenLooksAtTheNode: a node is opened only if it is the one of the device that
// the kernel has under the name, and a pipe or a file is none.
func TestOpenLooksAtTheNode(t *testing.T) {
	s := fakeSystem(t, []string{"nvme1"}, map[string]string{"nvme/nvme1": "1:3", "nvme/nvme2": "1:3", "nvme/nvme3": "1:3", "nvme/nvme4": "239:0"})
	if err := errors.Join(unix.Mkfifo(filepath.Join(s.dev, "nvme2"), 0o600), os.WriteFile(filepath.Join(s.dev, "nvme3"), nil, 0o600),
		os.Symlink(os.DevNull, filepath.Join(s.dev, "nvme4"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"nvme1": nil, "nvme2": ErrNotNVMe, "nvme3": ErrNotNVMe, "nvme4": blocks.ErrChanged} {
		f, err := s.openController(name)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

// TestNodeIsSwapped: a name that leads to another device when it is opened than when
// it was looked up.
func TestNodeIsSwapped(t *testing.T) {
	s := fakeSystem(t, []string{"nvme1"}, map[string]string{"nvme/nvme1": "1:3"})
	node := filepath.Join(s.dev, "nvme1")
	if err := errors.Join(os.Remove(node), os.Symlink("/dev/zero", node)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.openController("nvme1"); !errors.Is(err, blocks.ErrChanged) {
		t.Error(err)
	}
}

// On a descriptor that knows no NVMe ioctl both widths are tried, and the error
// says that nothing was issued.
func TestFileFallsBackTo32Bit(t *testing.T) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := &File{f: f, nsid: 1, writable: true}
	var wire Command
	if err := (&CopyCommand{9, []Range{{1, 1}}}).Encode(&wire, 1, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	_, err = file.IO(t.Context(), &wire)
	if !errors.Is(err, unix.ENOTTY) || !errors.Is(err, blocks.ErrNotIssued) || !file.only32.Load() {
		t.Errorf("%v, only32 %v", err, file.only32.Load())
	}
	if _, err = file.Admin(t.Context(), &Command{Opcode: OpIdentify, Data: make([]byte, 4096)}); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}

	wire.NSID = 2
	if _, err := file.IO(t.Context(), &wire); !errors.Is(err, blocks.ErrInvalid) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := file.IO(t.Context(), &Command{Opcode: 0x01, NSID: 1}); !errors.Is(err, blocks.ErrNotAllowed) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("write: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wire.NSID = 1
	if _, err := file.IO(ctx, &wire); !errors.Is(err, context.Canceled) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("canceled: %v", err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.IO(t.Context(), &wire); !errors.Is(err, os.ErrClosed) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("closed: %v", err)
	}
}

func TestFileCopiesOnlyWhenOpenedForWriting(t *testing.T) {
	for flag, want := range map[int]bool{os.O_RDONLY: false, os.O_WRONLY: false, os.O_RDWR: true} {
		f, err := os.OpenFile(os.DevNull, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := openedForWriting(f); err != nil || got != want {
			t.Errorf("flag %#x: %v, %v", flag, got, err)
		}
		f.Close()
	}
	var wire Command
	if err := (&CopyCommand{9, []Range{{1, 1}}}).Encode(&wire, 1, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	file := &File{f: os.Stdin, nsid: 1}
	if _, err := file.IO(t.Context(), &wire); !errors.Is(err, blocks.ErrNotAllowed) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Error(err)
	}
}

// Only errnos of the list say that nothing was issued; EINTR never does.
func TestFileAnswer(t *testing.T) {
	file := &File{f: os.Stdin}
	for errno := unix.EPERM; errno < 134; errno++ {
		_, listed := notIssued[errno]
		if err := file.answer("io", errno); errors.Is(err, blocks.ErrNotIssued) != listed || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := file.answer("io", nil); err != nil {
		t.Error(err)
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		0: 0, -time.Second: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 2 * time.Minute: 120_000,
		math.MaxInt64: math.MaxUint32,
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
