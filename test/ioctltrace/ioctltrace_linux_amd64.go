// Package ioctltrace records the ioctls of other programs, so that tests can
// compare the commands of other tools byte by byte with ours.
package ioctltrace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs a program of one thread and calls visit for each ioctl that it
// makes, before the kernel carries it out. The memory of the program is read at
// its own addresses.
func Run(cmd *exec.Cmd, visit func(request, arg uint64, memory io.ReaderAt) error) error {
	runtime.LockOSThread() // only the thread that has begun the trace may go on with it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	traceErr := trace(cmd.Process.Pid, visit)
	if traceErr != nil {
		traceErr = errors.Join(traceErr, cmd.Process.Kill())
	}
	// What is left is a zombie that trace has waited for, or one that was killed.
	err := cmd.Wait()
	if traceErr == nil && errors.Is(err, unix.ECHILD) {
		err = nil
	}
	return errors.Join(traceErr, err)
}

// trace stops the process at the beginning and at the end of each system call.
func trace(pid int, visit func(uint64, uint64, io.ReaderAt) error) error {
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil { // the exec
		return err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer memory.Close()
	const sysgood = unix.SIGTRAP | 0x80
	inside, signal := false, 0
	for {
		if err := unix.PtraceSyscall(pid, signal); err != nil {
			return err
		}
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return err
		}
		signal = 0
		switch {
		case status.Exited() && status.ExitStatus() == 0:
			return nil
		case status.Exited() || status.Signaled():
			return fmt.Errorf("the program ended with status %#x", uint32(status))
		case status.StopSignal() != sysgood:
			signal = int(status.StopSignal())
			continue
		}
		if inside = !inside; !inside {
			continue
		}
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(pid, &regs); err != nil {
			return err
		}
		if regs.Orig_rax == unix.SYS_IOCTL {
			if err := visit(regs.Rsi, regs.Rdx, memory); err != nil {
				return err
			}
		}
	}
}
