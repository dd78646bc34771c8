package scsi

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
)

func TestOpenNames(t *testing.T) {
	for _, name := range []string{"", "sda1", "sd", "sg", "sgx", "nvme0n1", "dm-0", "../sda", "sda/", "sda\n", "sr0", "st0", "vda", "SDA"} {
		if _, err := openIn(t.TempDir(), name, false); !errors.Is(err, ErrNotSCSI) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"sda", "sdaa", "sdzzz", "sg0", "sg12"} {
		if _, err := openIn(t.TempDir(), name, false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A name of a disk that leads to something else.
func TestOpenLooksAtTheDevice(t *testing.T) {
	dev := t.TempDir()
	if err := os.WriteFile(filepath.Join(dev, "sda"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.DevNull, filepath.Join(dev, "sdb")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sda", "sdb"} {
		if _, err := openIn(dev, name, true); !errors.Is(err, ErrNotSCSI) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIsSCSI(t *testing.T) {
	for _, tc := range []struct {
		mode, major, minor uint32
		want               bool
	}{
		{unix.S_IFBLK, 8, 0, true}, {unix.S_IFBLK, 8, 16, true}, {unix.S_IFBLK, 8, 1, false}, {unix.S_IFBLK, 8, 31, false},
		{unix.S_IFBLK, 64, 0, false}, {unix.S_IFBLK, 65, 0, true}, {unix.S_IFBLK, 71, 240, true}, {unix.S_IFBLK, 72, 0, false},
		{unix.S_IFBLK, 127, 0, false}, {unix.S_IFBLK, 128, 0, true}, {unix.S_IFBLK, 135, 0, true}, {unix.S_IFBLK, 136, 0, false},
		{unix.S_IFBLK, 253, 0, false}, {unix.S_IFBLK, 259, 0, false}, {unix.S_IFBLK, 21, 0, false},
		{unix.S_IFCHR, 21, 0, true}, {unix.S_IFCHR, 21, 5, true}, {unix.S_IFCHR, 8, 0, false}, {unix.S_IFCHR, 1, 3, false}, {unix.S_IFREG, 8, 0, false},
	} {
		if got := isSCSI(tc.mode|0o660, tc.major, tc.minor); got != tc.want {
			t.Errorf("%o %d:%d: %v", tc.mode, tc.major, tc.minor, got)
		}
	}
}

func TestFileRefuses(t *testing.T) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := &File{f: f, writable: true}
	tur := testUnitReady()
	_, err = file.Do(t.Context(), &tur)
	if !errors.Is(err, unix.ENOTTY) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("a device that knows no SG_IO: %v", err)
	}
	copyCommand := wire(t, List{LID1, 0, []Unit{{nameA, 512}}, []Segment{{0, 0, piece(1, 2, 3)}}})
	if _, err := file.Do(t.Context(), copyCommand); !errors.Is(err, unix.ENOTTY) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Error(err)
	}
	if _, err := file.Do(t.Context(), &Command{CDB: append([]byte{0x8A}, make([]byte, 15)...)}); !errors.Is(err, blocks.ErrNotAllowed) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("write: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := file.Do(ctx, copyCommand); !errors.Is(err, context.Canceled) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("canceled: %v", err)
	}
	file.writable = false
	sync := synchronizeCache(OpSynchronizeCache16)
	for _, c := range []*Command{copyCommand, &sync} {
		if _, err := file.Do(t.Context(), c); !errors.Is(err, blocks.ErrNotAllowed) || !errors.Is(err, blocks.ErrNotIssued) {
			t.Errorf("read-only: %v", err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Do(t.Context(), &tur); !errors.Is(err, os.ErrClosed) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("closed: %v", err)
	}
}

// Only errnos of the list say that nothing was issued.
func TestFileAnswer(t *testing.T) {
	file := &File{f: os.Stdin}
	for errno := unix.EPERM; errno < 134; errno++ {
		_, listed := notIssued[errno]
		if err := file.answer(errno); errors.Is(err, blocks.ErrNotIssued) != listed || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := file.answer(nil); err != nil {
		t.Error(err)
	}
}

// The signal mask of the thread is what it was before.
func TestIoctlRestoresSignals(t *testing.T) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var before, after unix.Sigset_t
	done := make(chan error, 1)
	go func() {
		err := unix.PthreadSigmask(unix.SIG_SETMASK, nil, &before)
		if e := ioctl(f.Fd(), &sgIOHdr{}, nil); !errors.Is(e, unix.ENOTTY) {
			err = errors.Join(err, e)
		}
		done <- errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, nil, &after))
	}()
	if err := <-done; err != nil || before != after {
		t.Errorf("%v: %v, %v", err, before, after)
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
