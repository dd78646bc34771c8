package uring

import (
	"encoding/binary"
	"runtime"
	"structs"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is needed of include/uapi/linux/io_uring.h, with the version of Linux that brought it.

// Flags of io_uring_setup.
const (
	setupClamp        = 1 << 4  // IORING_SETUP_CLAMP, 5.6
	setupSubmitAll    = 1 << 7  // IORING_SETUP_SUBMIT_ALL, 5.18
	setupCoopTaskrun  = 1 << 8  // IORING_SETUP_COOP_TASKRUN, 5.19
	setupSingleIssuer = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, 6.0
	setupDeferTaskrun = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, 6.1
)

// Features that io_uring_setup tells of.
const (
	featSingleMmap    = 1 << 0 // IORING_FEAT_SINGLE_MMAP, 5.4
	featNoDrop        = 1 << 1 // IORING_FEAT_NODROP, 5.5
	featExtArg        = 1 << 8 // IORING_FEAT_EXT_ARG, 5.11
	featNativeWorkers = 1 << 9 // IORING_FEAT_NATIVE_WORKERS, 5.12
)

const (
	enterGetEvents = 1 << 0 // IORING_ENTER_GETEVENTS
	enterExtArg    = 1 << 3 // IORING_ENTER_EXT_ARG

	registerBuffers   = 0 // IORING_REGISTER_BUFFERS
	unregisterBuffers = 1 // IORING_UNREGISTER_BUFFERS

	offsetRings = 0          // IORING_OFF_SQ_RING
	offsetSQEs  = 0x10000000 // IORING_OFF_SQES
)

// Operations, enum io_uring_op.
const (
	opReadFixed   = 4
	opWriteFixed  = 5
	opPollAdd     = 6
	opAsyncCancel = 14
	opRead        = 22
	opWrite       = 23
)

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	_                                                                  structs.HostLayout
	Head, Tail, RingMask, RingEntries, Flags, Dropped, Array, Reserved uint32
	UserAddr                                                           uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	_                                                                  structs.HostLayout
	Head, Tail, RingMask, RingEntries, Overflow, CQEs, Flags, Reserved uint32
	UserAddr                                                           uint64
}

// params is struct io_uring_params.
type params struct {
	_                                                                structs.HostLayout
	SQEntries, CQEntries, Flags, SQThreadCPU, SQThreadIdle, Features uint32
	WQFD                                                             uint32
	_                                                                [3]uint32
	SQ                                                               sqOffsets
	CQ                                                               cqOffsets
}

// sqe is struct io_uring_sqe.
type sqe struct {
	_           structs.HostLayout
	Opcode      uint8
	Flags       uint8
	Priority    uint16
	FD          int32
	Offset      uint64
	Addr        uint64
	Len         uint32
	OpFlags     uint32
	UserData    uint64
	BufferIndex uint16
	Personality uint16
	FileIndex   int32
	_           [2]uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	_        structs.HostLayout
	UserData uint64
	Result   int32
	Flags    uint32
}

// getEventsArg is struct io_uring_getevents_arg.
type getEventsArg struct {
	_           structs.HostLayout
	SigMask     uint64
	SigMaskSize uint32
	_           uint32
	Timeout     uint64 // address of a timespec64
}

// timespec64 is struct __kernel_timespec, include/uapi/linux/time_types.h.
type timespec64 struct {
	_         structs.HostLayout
	Sec, Nsec int64
}

// Stop the build when a layout is not what the kernel expects.
const (
	_ = uint(unsafe.Sizeof(sqOffsets{})-40) + uint(40-unsafe.Sizeof(sqOffsets{}))
	_ = uint(unsafe.Sizeof(cqOffsets{})-40) + uint(40-unsafe.Sizeof(cqOffsets{}))
	_ = uint(unsafe.Offsetof(cqOffsets{}.CQEs)-20) + uint(20-unsafe.Offsetof(cqOffsets{}.CQEs))
	_ = uint(unsafe.Offsetof(sqOffsets{}.Array)-24) + uint(24-unsafe.Offsetof(sqOffsets{}.Array))
	_ = uint(unsafe.Sizeof(params{})-120) + uint(120-unsafe.Sizeof(params{}))
	_ = uint(unsafe.Offsetof(params{}.Features)-20) + uint(20-unsafe.Offsetof(params{}.Features))
	_ = uint(unsafe.Offsetof(params{}.SQ)-40) + uint(40-unsafe.Offsetof(params{}.SQ))
	_ = uint(unsafe.Offsetof(params{}.CQ)-80) + uint(80-unsafe.Offsetof(params{}.CQ))
	_ = uint(unsafe.Sizeof(sqe{})-64) + uint(64-unsafe.Sizeof(sqe{}))
	_ = uint(unsafe.Offsetof(sqe{}.FD)-4) + uint(4-unsafe.Offsetof(sqe{}.FD))
	_ = uint(unsafe.Offsetof(sqe{}.Offset)-8) + uint(8-unsafe.Offsetof(sqe{}.Offset))
	_ = uint(unsafe.Offsetof(sqe{}.Addr)-16) + uint(16-unsafe.Offsetof(sqe{}.Addr))
	_ = uint(unsafe.Offsetof(sqe{}.Len)-24) + uint(24-unsafe.Offsetof(sqe{}.Len))
	_ = uint(unsafe.Offsetof(sqe{}.OpFlags)-28) + uint(28-unsafe.Offsetof(sqe{}.OpFlags))
	_ = uint(unsafe.Offsetof(sqe{}.UserData)-32) + uint(32-unsafe.Offsetof(sqe{}.UserData))
	_ = uint(unsafe.Offsetof(sqe{}.BufferIndex)-40) + uint(40-unsafe.Offsetof(sqe{}.BufferIndex))
	_ = uint(unsafe.Sizeof(getEventsArg{})-24) + uint(24-unsafe.Sizeof(getEventsArg{}))
	_ = uint(unsafe.Offsetof(getEventsArg{}.Timeout)-16) + uint(16-unsafe.Offsetof(getEventsArg{}.Timeout))
	_ = uint(unsafe.Sizeof(timespec64{})-16) + uint(16-unsafe.Sizeof(timespec64{}))
	_ = uint(unsafe.Sizeof(cqe{})-16) + uint(16-unsafe.Sizeof(cqe{}))
	_ = uint(unsafe.Offsetof(cqe{}.Result)-8) + uint(8-unsafe.Offsetof(cqe{}.Result))
)

// pollIn is POLLIN as poll32_events has it: with its halves swapped on big-endian machines.
var pollIn = func() uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return unix.POLLIN << 16
	}
	return unix.POLLIN
}()

func setup(entries uint32, p *params) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// enter hands over requests and waits for as many completions.
func enter(fd int, submit, wait uint32) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), enterGetEvents, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// enterShortly is enter for a bounded time, ETIME, and without a word to Go's scheduler.
func enterShortly(fd int, submit, wait uint32, nanoseconds int64) error {
	limit := timespec64{Nsec: nanoseconds}
	arg := getEventsArg{Timeout: uint64(uintptr(unsafe.Pointer(&limit)))}
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), enterGetEvents|enterExtArg,
		uintptr(unsafe.Pointer(&arg)), unsafe.Sizeof(arg))
	runtime.KeepAlive(&limit)
	if errno != 0 {
		return errno
	}
	return nil
}

func register(fd, what int, arg unsafe.Pointer, count int) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), uintptr(what), uintptr(arg), uintptr(count), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// registerMemory pins memory in parts of so many bytes each.
func registerMemory(fd int, memory []byte, part int) error {
	var list []unix.Iovec
	for at := 0; at < len(memory); at += part {
		v := unix.Iovec{Base: &memory[at]}
		v.SetLen(min(part, len(memory)-at))
		list = append(list, v)
	}
	return register(fd, registerBuffers, unsafe.Pointer(unsafe.SliceData(list)), len(list))
}

func unregisterMemory(fd int) error { return register(fd, unregisterBuffers, nil, 0) }

// address is what a request says of memory that neither moves nor is collected.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// within returns the place of b in memory.
func within(b, memory []byte) (int, bool) {
	at, start := address(b), address(memory)
	return int(at - start), at >= start && at+uint64(len(b)) <= start+uint64(len(memory))
}

// word is one of the numbers in shared memory, or nil if that is not so large.
func word(memory []byte, at uint32) *atomic.Uint32 {
	if int64(at)+4 > int64(len(memory)) || at%4 != 0 {
		return nil
	}
	return (*atomic.Uint32)(unsafe.Pointer(&memory[at]))
}

// list is an array of n elements in shared memory, or nil if that is not so large.
func list[T any](memory []byte, at, n uint32) []T {
	var element T
	if int64(at)+int64(n)*int64(unsafe.Sizeof(element)) > int64(len(memory)) || uintptr(at)%unsafe.Alignof(element) != 0 || n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&memory[at])), n)
}
