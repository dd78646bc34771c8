package watch

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// poker ends a poll from another goroutine (eventfd(2)).
type poker struct{ fd int }

func newPoker() (*poker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &poker{fd}, err
}

func (p *poker) poll() unix.PollFd { return unix.PollFd{Fd: int32(p.fd), Events: unix.POLLIN} }

// poke cannot fail: the counter is far from full.
func (p *poker) poke() { _, _ = unix.Write(p.fd, binary.NativeEndian.AppendUint64(nil, 1)) }

// take makes it wait for the next poke.
func (p *poker) take() { _, _ = unix.Read(p.fd, make([]byte, 8)) }

func (p *poker) Close() error { return unix.Close(p.fd) }
