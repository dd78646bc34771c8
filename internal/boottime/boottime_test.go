package boottime

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAdd(t *testing.T) {
	for _, tt := range []struct {
		at   Instant
		by   time.Duration
		want Instant
	}{{5, 3, 8}, {5, -3, 2}, {Forever, time.Second, Forever}, {Forever, -1, Forever}, {Forever - 1, 1, Forever}, {Forever - 1, 2, Forever}} {
		if got := tt.at.Add(tt.by); got != tt.want {
			t.Errorf("%d + %d: %d", tt.at, tt.by, got)
		}
	}
	if got := Instant(8).Sub(5); got != 3 {
		t.Error(got)
	}
}

func TestLimit(t *testing.T) {
	at := func(i Instant) Limit { return func() Instant { return i } }
	for name, tt := range map[string]struct {
		limit Limit
		now   Instant
		want  error
	}{
		"none":    {nil, Forever, nil},
		"forever": {at(Forever), Forever, nil},
		"before":  {at(10), 9, nil},
		"at it":   {at(10), 10, ErrPassed},
		"after":   {at(10), 11, ErrPassed},
	} {
		if err := tt.limit.Check(tt.now); err != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNow: the clock is that of the kernel, and does not go back.
func TestNow(t *testing.T) {
	var before unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &before); err != nil {
		t.Fatal(err)
	}
	now := Now()
	if then := Instant(before.Nano()); now < then || Now() < now {
		t.Errorf("%d after %d", now, then)
	}
}

// TestSyscall: a call is made before its moment and not after it, with its arguments,
// result and error.
func TestSyscall(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	pipe := func(until Instant) (uintptr, syscall.Errno, bool) {
		return Syscall(until, unix.SYS_FCNTL, w.Fd(), unix.F_GETFL, 0, 0, 0, 0)
	}
	for name, tt := range map[string]struct {
		until Instant
		begun bool
	}{
		"forever":   {Forever, true},
		"in time":   {Now().Add(time.Hour), true},
		"now":       {Now(), false},
		"long over": {0, false},
	} {
		flags, errno, begun := pipe(tt.until)
		if begun != tt.begun || errno != 0 || begun != (flags&unix.O_ACCMODE == unix.O_WRONLY) {
			t.Errorf("%s: %#x, %v, %t", name, flags, errno, begun)
		}
	}
	if _, errno, begun := Syscall(Now().Add(time.Hour), unix.SYS_FCNTL, ^uintptr(0), unix.F_GETFL, 0, 0, 0, 0); errno != unix.EBADF || !begun {
		t.Errorf("%v, %t", errno, begun)
	}
}
