package boottime

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// measured marks the process whose instructions are counted.
const measured = "DMCOPY_BOOTTIME_MEASURED"

func init() { runtime.LockOSThread() } // main runs on the thread that is traced

func TestMain(m *testing.M) {
	if os.Getenv(measured) == "" {
		os.Exit(m.Run())
	}
	until := Now().Add(time.Hour)
	for range 100 { // what is done once only is done by then
		Syscall(until, unix.SYS_GETPGID, 0, 0, 0, 0, 0, 0)
	}
	syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) // from here on
	Syscall(until, unix.SYS_GETPGID, 0, 0, 0, 0, 0, 0)
}

// most is how many instructions of the program may lie between the look at the clock and
// the system call; it was 175. Most of them tell the scheduler of Go that the thread goes away.
// Where its monitor sleeps it is woken, which takes some hundred more (runtime/proc.go,
// entersyscall_sysmon).
const most = 250

// TestGap counts the instructions of the program from the return of the clock to the system
// call. What stops the process just there makes the call late. Whether the monitor of the
// scheduler sleeps is chance, and more likely than in earnest, because to be traced takes time:
// the least of several counts is the program's own.
func TestGap(t *testing.T) {
	least := gap(t)
	for range 8 {
		least = min(least, gap(t))
	}
	if least > most {
		t.Errorf("%d instructions, more than %d", least, most)
	}
}

// gap counts once.
func gap(t *testing.T) int {
	t.Helper()
	runtime.LockOSThread() // only the thread that has begun a trace may go on with it
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), measured+"=1", "GOGC=off")
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	tr := tracee{t, cmd.Process.Pid}
	tr.wait()
	for tr.regs().Orig_rax != unix.SYS_GETPPID {
		tr.goOn(unix.PtraceSyscall(tr.pid, 0))
	}
	count := -1
	for {
		switch regs := tr.regs(); {
		case !tr.atSyscall(regs):
		case regs.Rax == unix.SYS_CLOCK_GETTIME && regs.Rdi == unix.CLOCK_BOOTTIME:
			count = -1
			tr.goOn(unix.PtraceSingleStep(tr.pid))
			count++
		case regs.Rax == unix.SYS_GETPGID && count >= 0:
			t.Logf("%d instructions", count)
			return count
		}
		tr.goOn(unix.PtraceSingleStep(tr.pid))
		if count >= 0 {
			count++
		}
	}
}

// tracee is a stopped process.
type tracee struct {
	*testing.T
	pid int
}

func (t tracee) wait() {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &status, unix.WALL, nil); err != nil || !status.Stopped() {
		t.Fatalf("%#x, %v", uint32(status), err)
	}
}

func (t tracee) goOn(err error) {
	if err != nil {
		t.Fatal(err)
	}
	t.wait()
}

func (t tracee) regs() *unix.PtraceRegs {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(t.pid, &regs); err != nil {
		t.Fatal(err)
	}
	return &regs
}

// atSyscall: the next instruction is SYSCALL (0F 05).
func (t tracee) atSyscall(regs *unix.PtraceRegs) bool {
	var code [2]byte
	if _, err := unix.PtracePeekText(t.pid, uintptr(regs.Rip), code[:]); err != nil {
		t.Fatal(err)
	}
	return code == [2]byte{0x0F, 0x05}
}
