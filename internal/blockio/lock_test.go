package blockio_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// locked opens a file again and locks some of its bytes, as another program does.
func locked(t *testing.T, path string, kind int16, bytes ...int64) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, at := range bytes {
		if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: at, Len: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// forbidden tells whether somebody else has locked one of the bytes, as QEMU looks.
func forbidden(t *testing.T, path string, bytes ...int64) bool {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, at := range bytes {
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
		if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &l); err != nil {
			t.Fatal(err)
		}
		if l.Type != unix.F_UNLCK {
			return true
		}
	}
	return false
}

// TestLocks: who else may have locked a file that is read or written.
func TestLocks(t *testing.T) {
	// As QEMU 10.0 locks them, seen in /proc/locks: "does" from 100 on, "alone" from 200 on.
	writing, reading := []int64{100, 101, 201}, []int64{100, 201}
	for _, c := range []struct {
		name        string
		kind        int16
		bytes       []int64
		read, write error
	}{
		{"nobody", unix.F_RDLCK, nil, nil, nil},
		{"a machine that runs", unix.F_RDLCK, writing, blockio.ErrLocked, blockio.ErrLocked},
		{"an image that is read", unix.F_RDLCK, reading, nil, blockio.ErrLocked},
		{"an image that is looked at", unix.F_RDLCK, []int64{100}, nil, blockio.ErrLocked},
		{"an image that is shared for writing", unix.F_RDLCK, []int64{101}, blockio.ErrLocked, blockio.ErrLocked},
		{"who wants no writers", unix.F_RDLCK, []int64{201}, nil, blockio.ErrLocked},
		{"who wants no readers", unix.F_RDLCK, []int64{200}, blockio.ErrLocked, nil},
		{"who changes its length", unix.F_RDLCK, []int64{103}, blockio.ErrLocked, blockio.ErrLocked},
		{"a database that writes", unix.F_WRLCK, []int64{1 << 30}, blockio.ErrLocked, blockio.ErrLocked},
		{"a database that reads", unix.F_RDLCK, []int64{1 << 30}, nil, blockio.ErrLocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := tempFile(t, 4096)
			locked(t, path, c.kind, c.bytes...)
			if err := open(t, path, blockio.Write).Locks().CheckToWrite(); !errors.Is(err, c.write) {
				t.Errorf("to write, looked at: %v, want %v", err, c.write)
			}
			dst := open(t, path, blockio.Write)
			if err := dst.Locks().ToWrite(); !errors.Is(err, c.write) {
				t.Errorf("to write: %v, want %v", err, c.write)
			}
			dst.Close()
			if err := open(t, path, 0).Locks().ToRead(); !errors.Is(err, c.read) {
				t.Errorf("to read: %v, want %v", err, c.read)
			}
		})
	}
}

// TestLocksForOthers: what is read or written is locked for others, until it is closed.
func TestLocksForOthers(t *testing.T) {
	path := tempFile(t, 4096)
	// What QEMU looks at: who is to write, and who is to read.
	writes, reads := []int64{100, 101, 201}, []int64{101, 103, 200}
	if f := open(t, path, 0); f.Locks().ToRead() != nil || forbidden(t, path, reads...) || !forbidden(t, path, writes...) {
		t.Error("what is read may be read, and not be written to")
	} else {
		f.Close()
	}
	if f := open(t, path, blockio.Write); f.Locks().ToWrite() != nil || !forbidden(t, path, reads...) || !forbidden(t, path, writes...) {
		t.Error("what is written may neither be read nor be written to")
	} else {
		f.Close()
	}
	if forbidden(t, path, append(reads, writes...)...) {
		t.Error("locked for ever")
	}
}

// TestCopiesShareAFile: copies write to different places of one file, or one of them
// does not.
func TestCopiesShareAFile(t *testing.T) {
	const last = 1<<63 - 1
	path := tempFile(t, 4096)
	one, two := open(t, path, blockio.Write), open(t, path, blockio.Write)
	if err := errors.Join(one.Locks().ToWrite(), one.Locks().Range(0, 100), one.Locks().Range(300, 100), one.Locks().Range(last-1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(two.Locks().ToWrite(), two.Locks().Range(100, 200), two.Locks().Range(400, 1<<40)); err != nil {
		t.Error(err)
	}
	looks := open(t, path, 0)
	for _, run := range [][2]int64{{100, 200}, {250, 1}, {500, 1 << 39}, {1 << 41, 1}} {
		if err := looks.Locks().CheckRange(run[0], run[1]); errors.Is(err, blockio.ErrLocked) != (run[0] < 1<<40) {
			t.Errorf("%v is looked at: %v", run, err)
		}
	}
	for _, run := range [][2]int64{{0, 1}, {99, 1}, {0, 4096}, {399, 2}, {last - 1, 1}, {1 << 62, 1}} {
		if err := looks.Locks().CheckRange(run[0], run[1]); !errors.Is(err, blockio.ErrLocked) {
			t.Errorf("%v is looked at: %v", run, err)
		}
		if err := two.Locks().Range(run[0], run[1]); !errors.Is(err, blockio.ErrLocked) {
			t.Errorf("%v: %v", run, err)
		}
	}
	if err := open(t, path, 0).Locks().ToRead(); !errors.Is(err, blockio.ErrLocked) {
		t.Errorf("to read: %v", err)
	}
	one.Close()
	if err := two.Locks().Range(0, 100); err != nil {
		t.Error(err)
	}
	var e *blockio.Error
	if err := one.Locks().ToWrite(); !errors.As(err, &e) || e.Op != "lock" {
		t.Errorf("closed: %v", err)
	}
}
