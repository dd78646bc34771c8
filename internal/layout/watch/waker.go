package watch

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// waker ends a poll from another goroutine (eventfd(2)).
type waker struct{ fd int }

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &waker{fd}, err
}

func (p *waker) poll() unix.PollFd { return unix.PollFd{Fd: int32(p.fd), Events: unix.POLLIN} }

// wake cannot fail: the counter is far from full.
func (p *waker) wake() { _, _ = unix.Write(p.fd, binary.NativeEndian.AppendUint64(nil, 1)) }

// reset makes it wait for the next wake.
func (p *waker) reset() { _, _ = unix.Read(p.fd, make([]byte, 8)) }

func (p *waker) Close() error { return unix.Close(p.fd) }
