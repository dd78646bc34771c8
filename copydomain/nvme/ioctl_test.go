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
)

func TestOpenNames(t *testing.T) {
	for _, name := range []string{"", "nvme0", "nvme0n1p1", "nvme0c1n1", "ng0n1", "sda", "../nvme0n1", "nvme0n1/", "nvme-0n1", "nvme0n1\n"} {
		if _, err := openIn(t.TempDir(), name, false); !errors.Is(err, ErrNotNVMe) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := openIn(t.TempDir(), "nvme0n1", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing device: %v", err)
	}
}

// The generic device goes first. Which file was opened shows in the error, as
// neither is a namespace.
func TestOpenPrefersTheGenericDevice(t *testing.T) {
	dev := t.TempDir()
	for _, name := range []string{"nvme3n12", "ng3n12"} {
		path := filepath.Join(dev, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openIn(dev, "nvme3n12", true)
		var e *Error
		if !errors.Is(err, ErrNotNVMe) || !errors.Is(err, unix.ENOTTY) || !errors.As(err, &e) || e.Dev != path {
			t.Errorf("%v, want %s", err, path)
		}
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
	if !errors.Is(err, unix.ENOTTY) || !errors.Is(err, ErrNotIssued) || !file.only32.Load() {
		t.Errorf("%v, only32 %v", err, file.only32.Load())
	}
	if _, err = file.Admin(t.Context(), &Command{Opcode: OpIdentify, Data: make([]byte, 4096)}); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}

	wire.NSID = 2
	if _, err := file.IO(t.Context(), &wire); !errors.Is(err, ErrInvalid) || !errors.Is(err, ErrNotIssued) {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := file.IO(t.Context(), &Command{Opcode: 0x01, NSID: 1}); !errors.Is(err, ErrNotAllowed) || !errors.Is(err, ErrNotIssued) {
		t.Errorf("write: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wire.NSID = 1
	if _, err := file.IO(ctx, &wire); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNotIssued) {
		t.Errorf("canceled: %v", err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.IO(t.Context(), &wire); !errors.Is(err, os.ErrClosed) || !errors.Is(err, ErrNotIssued) {
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
	if _, err := file.IO(t.Context(), &wire); !errors.Is(err, ErrNotAllowed) || !errors.Is(err, ErrNotIssued) {
		t.Error(err)
	}
}

// Only errnos of the list say that nothing was issued; EINTR never does.
func TestFileAnswer(t *testing.T) {
	file := &File{f: os.Stdin}
	for errno := unix.EPERM; errno < 134; errno++ {
		_, listed := notIssued[errno]
		if err := file.answer("io", errno); errors.Is(err, ErrNotIssued) != listed || !errors.Is(err, errno) {
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
