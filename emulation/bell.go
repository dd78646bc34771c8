package emulation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// bell is an eventfd(2) that can be read once it was rung.
type bell struct {
	mu sync.Mutex
	fd int // -1 once it is closed: the number can be that of another file then
}

func newBell() (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &bell{fd: fd}, nil
}

// ring may come late.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := binary.NativeEndian.AppendUint64(nil, 1)
	for b.fd >= 0 {
		if _, err := unix.Write(b.fd, one); !errors.Is(err, unix.EINTR) { // EAGAIN: it rings already
			return
		}
	}
}

// silence has it wait for the next time.
func (b *bell) silence() {
	var count [8]byte
	_, _ = unix.Read(b.fd, count[:]) // EAGAIN: it is silent
}

func (b *bell) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	fd := b.fd
	b.fd = -1
	return unix.Close(fd)
}
