package boottime

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Syscall makes a system call unless the clock has reached until by then; begun tells
// which. The clock is read right before: nothing but the comparison and the way into
// the kernel stands in between. The kernel knows no request that is void after a moment,
// so what stops the thread there, and only there, makes the call late; the scheduler of
// Go, which may, for milliseconds. The directives: uintptr arguments can be pointers (see
// unsafe.Pointer, case 4), and the stack is not grown in the midst of this.
//
//go:uintptrescapes
//go:nosplit
func Syscall(until Instant, trap, a1, a2, a3, a4, a5, a6 uintptr) (r1 uintptr, errno syscall.Errno, begun bool) {
	if until != Forever {
		var now unix.Timespec
		_, _, errno = syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&now)), 0)
		if errno != 0 || int64(now.Sec)*1e9+int64(now.Nsec) >= int64(until) {
			return 0, errno, false
		}
	}
	r1, _, errno = syscall.Syscall6(trap, a1, a2, a3, a4, a5, a6)
	return r1, errno, true
}
