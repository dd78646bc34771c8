package watch

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	// fromKernel is the group of what the kernel sends; udev has another one.
	fromKernel = 1
	// ueventRoom is more than a message has (include/linux/kobject.h,
	// UEVENT_BUFFER_SIZE, and a path).
	ueventRoom = 16 << 10
	// atATime bounds what is taken before others have their turn.
	atATime = 64
)

// uevents is a socket that gets the uevents of this machine.
type uevents struct {
	fd  int
	buf []byte
	// receive takes one message.
	receive func(into []byte) (n, flags int, from unix.Sockaddr, err error)
}

func openUevents() (source, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	receive := func(into []byte) (n, flags int, from unix.Sockaddr, err error) {
		n, _, flags, from, err = unix.Recvmsg(fd, into, nil, 0)
		return n, flags, from, err
	}
	return &uevents{fd, make([]byte, ueventRoom), receive}, nil
}

func (u *uevents) name() string { return "uevents" }

func (u *uevents) poll() unix.PollFd { return unix.PollFd{Fd: int32(u.fd), Events: unix.POLLIN} }

// event takes the messages that are in the socket.
func (u *uevents) event(s scope) (concerned bool, err error) {
	_, lost, err := u.drain(atATime, func(msg []byte, flags int, from unix.Sockaddr) {
		concerned = s.matches(msg, flags, from) || concerned
	})
	return concerned || lost, err
}

// drain takes at most so many messages that are in the socket. Empty tells that none is left there,
// lost that some never came.
func (u *uevents) drain(most int, take func(msg []byte, flags int, from unix.Sockaddr)) (empty, lost bool, err error) {
	for range most {
		n, flags, from, err := u.receive(u.buf)
		switch err {
		case nil:
			take(u.buf[:n], flags, from)
		case unix.EINTR:
		case unix.ENOBUFS:
			lost = true
		case unix.EAGAIN:
			return true, lost, nil
		default:
			return false, lost, os.NewSyscallError("recvmsg", err)
		}
	}
	return false, lost, nil
}

// matches tells whether a message may concern the scope. What cannot be understood
// may.
func (s scope) matches(msg []byte, flags int, from unix.Sockaddr) bool {
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return false
	}
	if flags&unix.MSG_TRUNC != 0 {
		return true
	}
	u, err := parseUevent(msg)
	return err != nil || u.concerns(s)
}

func (u *uevents) Close() error { return unix.Close(u.fd) }
