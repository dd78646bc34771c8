package hold

import (
	"structs"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Asynchronous reads by io_submit(2). Unlike a thread that sits in pread, a
// submission returns when the bio has been handed to the block layer, which is
// exactly the fact that an anchor needs to know, and it returns even if the
// device is suspended.

// iocb mirrors struct iocb of include/uapi/linux/aio_abi.h (little endian).
type iocb struct {
	_        structs.HostLayout
	data     uint64
	key      uint32
	rwFlags  uint32
	opcode   uint16
	prio     int16
	fd       uint32
	buf      uint64
	nbytes   uint64
	offset   int64
	reserved uint64
	flags    uint32
	resfd    uint32
}

// ioEvent mirrors struct io_event of include/uapi/linux/aio_abi.h.
type ioEvent struct {
	_    structs.HostLayout
	data uint64
	obj  uint64
	res  int64
	res2 int64
}

const (
	_ = uint(unsafe.Sizeof(iocb{})-64) + uint(64-unsafe.Sizeof(iocb{}))
	_ = uint(unsafe.Offsetof(iocb{}.opcode)-16) + uint(16-unsafe.Offsetof(iocb{}.opcode))
	_ = uint(unsafe.Offsetof(iocb{}.resfd)-60) + uint(60-unsafe.Offsetof(iocb{}.resfd))
	_ = uint(unsafe.Sizeof(ioEvent{})-32) + uint(32-unsafe.Sizeof(ioEvent{}))
	_ = uint(unsafe.Offsetof(ioEvent{}.res)-16) + uint(16-unsafe.Offsetof(ioEvent{}.res))
)

const iocbCmdPread = 0 // IOCB_CMD_PREAD

// aioContext is an io_setup(2) context.
type aioContext uintptr

func aioSetup(depth int) (aioContext, error) {
	var ctx aioContext
	_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(depth), uintptr(unsafe.Pointer(&ctx)), 0)
	return ctx, errnoErr(errno)
}

// submitRead starts one read into buf, which must not move or be freed until
// its event was collected.
func (ctx aioContext) submitRead(id uint64, fd int, buf []byte, offset int64) error {
	cb := &iocb{
		data:   id,
		opcode: iocbCmdPread,
		fd:     uint32(fd),
		buf:    uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))),
		nbytes: uint64(len(buf)),
		offset: offset,
	}
	list := [1]*iocb{cb}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, uintptr(ctx), 1, uintptr(unsafe.Pointer(&list)))
		if errno != unix.EINTR {
			return errnoErr(errno)
		}
	}
}

// events collects finished reads: at least least, waiting no longer than
// timeout for them.
func (ctx aioContext) events(least int, into []ioEvent, timeout time.Duration) (int, error) {
	ts := unix.NsecToTimespec(int64(timeout))
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, uintptr(ctx), uintptr(least), uintptr(len(into)),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(unsafe.Pointer(&ts)), 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	return int(n), errnoErr(errno)
}

func errnoErr(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
