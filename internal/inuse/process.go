package inuse

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// Process is a running program.
type Process struct {
	PID int
	// Name is the kernel's name of it (comm), "" if it has none any more.
	Name string
}

func (p Process) String() string {
	if p.Name == "" {
		return fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Sprintf("process %d (%s)", p.PID, p.Name)
}

// root is the directory, below the root of [FS], that is the root of the process.
func (p Process) root() string {
	if p.PID == 0 {
		return ""
	}
	return filepath.Join("proc", strconv.Itoa(p.PID), "root")
}

// processes are those of a machine, as its /proc shows them.
type processes struct{ sysfs.Root }

// process is the process of a number.
func (p processes) process(pid int) Process {
	name, _ := sysfs.Dir(p.Path("proc", strconv.Itoa(pid))).Text("comm") // it is for people only
	return Process{pid, name}
}

// numbers lists the entries of a directory of /proc that are called by a number.
func (p processes) numbers(path string) ([]int, error) {
	entries, err := os.ReadDir(p.Path(path))
	if err != nil {
		return nil, sysfs.About(p.Path(path), err)
	}
	var numbers []int
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil && n >= 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// task is a thread of a process.
type task struct {
	pid int
	dir string // below the root
}

// tasks lists all threads of all processes, which can be in different namespaces.
func (p processes) tasks() ([]task, error) {
	pids, err := p.numbers("proc")
	if err != nil {
		return nil, err
	}
	var all []task
	for _, pid := range pids {
		below := filepath.Join("proc", strconv.Itoa(pid), "task")
		tids, err := p.numbers(below)
		if hidden(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, tid := range tids {
			all = append(all, task{pid, filepath.Join(below, strconv.Itoa(tid))})
		}
	}
	return all, nil
}

// hidden tells whether an error is what reading about a process gives when it ends
// at the same time, has no files or mounts any more, or is not to be looked at.
func hidden(err error) bool {
	return sysfs.Vanished(err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EINVAL)
}

// isAnother tells whether a process lives and runs another program than this one does.
func (p processes) isAnother(than Process) bool {
	other, err := p.program(than)
	if ended(err) {
		return false // nothing is open any more
	}
	mine, mineErr := os.Stat(p.Path("proc/self/exe"))
	return err != nil || mineErr != nil || !os.SameFile(mine, other)
}

// isLVM tells whether a process runs a command of LVM, or does what one does on events.
func (p processes) isLVM(it Process) bool {
	path, err := os.Readlink(p.Path("proc", strconv.Itoa(it.PID), "exe"))
	if err != nil {
		return false
	}
	name := strings.TrimSuffix(filepath.Base(path), " (deleted)") // it may have been upgraded
	return slices.Contains([]string{"lvm", "lvm.static", "dmeventd"}, name)
}

// program is the file that a process runs. A thread that has ended has none any more,
// while those that it has begun go on.
func (p processes) program(of Process) (fs.FileInfo, error) {
	process := filepath.Join("proc", strconv.Itoa(of.PID))
	info, err := os.Stat(p.Path(process, "exe"))
	if !ended(err) {
		return info, err
	}
	tids, listErr := p.numbers(filepath.Join(process, "task"))
	if listErr != nil {
		return nil, listErr
	}
	for _, tid := range tids {
		if info, err = os.Stat(p.Path(process, "task", strconv.Itoa(tid), "exe")); !ended(err) {
			return info, err
		}
	}
	return nil, err
}

// ended tells whether an error is what asking about a process gives that has ended.
func ended(err error) bool { return sysfs.Vanished(err) || errors.Is(err, syscall.ESRCH) }
