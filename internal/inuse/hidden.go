package inuse

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// kernelThread is a flag of a process (include/linux/sched.h, PF_KTHREAD).
const kernelThread = 0x00200000

// initPID is the first process, which has no device open for writing, and may be closed to
// everybody.
const initPID = 1

// HiddenProcesses counts the processes of a machine whose files this one may not look at: what they have open is
// not known. all is false if others do not even show (proc(5), hidepid).
func HiddenProcesses(sys sysblock.FS) (n int, all bool, err error) {
	return processes{sys.Root()}.hidden()
}

func (p processes) hidden() (n int, all bool, err error) {
	pids, err := p.numbers("proc")
	if err != nil {
		return 0, false, err
	}
	for _, pid := range pids {
		if pid == initPID {
			continue
		}
		process := filepath.Join("proc", strconv.Itoa(pid))
		if p.closed(process) && !p.isKernelThread(process) {
			n++
		}
	}
	// In every namespace of processes there is a first one.
	_, err = os.Lstat(p.Path("proc/1"))
	return n, err == nil, nil
}

// closed tells whether a process may not be looked into: its descriptors are not listed, or,
// from another namespace of users, do not tell what they are of (fs/proc/base.c,
// proc_fd_access_allowed).
func (p processes) closed(process string) bool {
	fds, err := p.numbers(filepath.Join(process, "fd"))
	for _, fd := range fds {
		if _, err = os.Readlink(p.Path(process, "fd", strconv.Itoa(fd))); err == nil {
			return false
		}
		if errors.Is(err, fs.ErrPermission) {
			break
		}
	}
	return errors.Is(err, fs.ErrPermission)
}

// isKernelThread tells whether a process belongs to the kernel, and has no files
// (fs/proc/array.c, do_task_stat: the flags are the seventh field behind the name).
func (p processes) isKernelThread(process string) bool {
	text, err := os.ReadFile(p.Path(process, "stat"))
	if err != nil {
		return false
	}
	words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(words) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(words[6], 10, 32)
	return err == nil && flags&kernelThread != 0
}
