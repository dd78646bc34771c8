package emulation

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// named is a device that has an ID and nothing else.
type named struct {
	Device
	id string
}

func (n named) ID() string { return n.id }

// TestBlockErrors: what a disk fails with is said in the words of disks, and is still the
// errno that it is; that of a file is not.
func TestBlockErrors(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.ENODATA: "bad sector", unix.EILSEQ: "protection information", unix.EREMOTEIO: "disk has failed", unix.ENOLINK: "connection",
		unix.ETIMEDOUT: "in time", unix.ETIME: "allowed", unix.EBADE: "reserved", unix.ENODEV: "gone",
	} {
		given := &blockio.Error{Op: "pread", Path: "/dev/sda", Err: errno}
		got := inWords(named{id: "block:8:0"}, given)
		if !strings.Contains(got.Error(), want) || !strings.HasSuffix(got.Error(), unix.ErrnoName(errno)) || !errors.Is(got, errno) || IsMediaError(got) != IsMediaError(errno) {
			t.Errorf("%s: %v", unix.ErrnoName(errno), got)
		}
		if got := inWords(named{id: "file:8:0:12"}, given); got != error(given) {
			t.Errorf("of a file: %v", got)
		}
	}
	for _, err := range []error{unix.EIO, unix.ENOSPC, errors.New("something else")} {
		if got := inWords(named{id: "block:8:0"}, err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
