package sysblock

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

	"golang.org/x/sys/unix"
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

func (f FS) process(pid int) Process {
	name, _ := dir(f.path("proc", strconv.Itoa(pid))).text("comm") // it is for people only
	return Process{pid, name}
}

// numbers lists the entries of a directory of /proc that are called by a number.
func (f FS) numbers(path string) ([]int, error) {
	entries, err := os.ReadDir(f.path(path))
	if err != nil {
		return nil, &Error{f.path(path), err}
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
func (f FS) tasks() ([]task, error) {
	pids, err := f.numbers("proc")
	if err != nil {
		return nil, err
	}
	var all []task
	for _, pid := range pids {
		below := filepath.Join("proc", strconv.Itoa(pid), "task")
		tids, err := f.numbers(below)
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
	return vanished(err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EINVAL)
}

// writer is a process that has something open for writing.
type writer struct {
	Process
	opened
}

// opened is something that is open.
type opened struct {
	id   string // as [idOf] has it
	link string // that leads to it
}

// writers lists which processes besides this one have block devices and regular
// files open for writing. Programs that serve disks to others have them open like that,
// and claim nothing.
func (f FS) writers(mounts []Mount) ([]writer, error) {
	far := make(map[uint64]bool)
	for _, m := range mounts {
		far[m.ID] = remote(m.Type)
	}
	own, err := os.Readlink(f.path("proc/self"))
	if err != nil {
		own = "" // a /proc of a test
	}
	pids, err := f.numbers("proc")
	if err != nil {
		return nil, err
	}
	var all []writer
	for _, pid := range pids {
		if strconv.Itoa(pid) == own {
			continue
		}
		open, err := f.writtenByAny(pid, far)
		if err != nil {
			return nil, err
		}
		for _, o := range open {
			all = append(all, writer{f.process(pid), o})
		}
	}
	return all, nil
}

// writtenByAny lists what any thread of a process has open for writing. Threads can have
// descriptors of their own (unshare(2), CLONE_FILES), and the first one can have ended
// before the others, which leaves the directory of the process empty.
func (f FS) writtenByAny(pid int, far map[uint64]bool) ([]opened, error) {
	process := filepath.Join("proc", strconv.Itoa(pid))
	all, err := f.written(process, far)
	if err != nil && !hidden(err) {
		return nil, err
	}
	tids, err := f.numbers(filepath.Join(process, "task"))
	if err != nil && !hidden(err) {
		return nil, err
	}
	for _, tid := range tids {
		if tid == pid || f.shareFiles(pid, tid) {
			continue
		}
		more, err := f.written(filepath.Join(process, "task", strconv.Itoa(tid)), far)
		if err != nil && !hidden(err) {
			return nil, err
		}
		all = append(all, more...)
	}
	slices.SortFunc(all, func(a, b opened) int { return strings.Compare(a.id, b.id) })
	return slices.CompactFunc(all, func(a, b opened) bool { return a.id == b.id }), nil
}

// kcmpFiles has kcmp(2) compare tables of descriptors (include/uapi/linux/kcmp.h).
const kcmpFiles = 2

// shareFiles tells whether two threads are known to have one table of descriptors.
func (f FS) shareFiles(a, b int) bool {
	if f != "" {
		return false // these are not threads of this machine
	}
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return errno == 0 && order == 0
}

// written lists what a process has open for writing.
func (f FS) written(process string, far map[uint64]bool) ([]opened, error) {
	fds, err := f.numbers(filepath.Join(process, "fd"))
	if err != nil {
		return nil, err
	}
	var open []opened
	for _, fd := range fds {
		link := f.path(process, "fd", strconv.Itoa(fd))
		if !writable(link) || far[f.mountOf(process, fd)] {
			continue
		}
		info, err := os.Stat(link)
		if err != nil {
			continue // closed since
		}
		id := idOf(info)
		if info.Mode()&fs.ModeCharDevice != 0 {
			id = f.idBehind(rdev(info))
		}
		if id != "" {
			open = append(open, opened{id, link})
		}
	}
	return open, nil
}

// isAnother tells whether a process lives and runs another program than this one does.
func (f FS) isAnother(p Process) bool {
	other, err := f.program(p)
	if ended(err) {
		return false // nothing is open any more
	}
	mine, mineErr := os.Stat(f.path("proc/self/exe"))
	return err != nil || mineErr != nil || !os.SameFile(mine, other)
}

// isLVM tells whether a process runs a command of LVM, or does what one does on events.
func (f FS) isLVM(p Process) bool {
	path, err := os.Readlink(f.path("proc", strconv.Itoa(p.PID), "exe"))
	if err != nil {
		return false
	}
	name := strings.TrimSuffix(filepath.Base(path), " (deleted)") // it may have been upgraded
	return slices.Contains([]string{"lvm", "lvm.static", "dmeventd"}, name)
}

// program is the file that a process runs. A thread that has ended has none any more,
// while those that it has begun go on.
func (f FS) program(p Process) (fs.FileInfo, error) {
	process := filepath.Join("proc", strconv.Itoa(p.PID))
	info, err := os.Stat(f.path(process, "exe"))
	if !ended(err) {
		return info, err
	}
	tids, listErr := f.numbers(filepath.Join(process, "task"))
	if listErr != nil {
		return nil, listErr
	}
	for _, tid := range tids {
		if info, err = os.Stat(f.path(process, "task", strconv.Itoa(tid), "exe")); !ended(err) {
			return info, err
		}
	}
	return nil, err
}

// ended tells whether an error is what asking about a process gives that has ended.
func ended(err error) bool { return vanished(err) || errors.Is(err, syscall.ESRCH) }

// writable tells whether a descriptor is one of something that has a name, and was
// opened for writing: the link has these permissions (fs/proc/fd.c, tid_fd_mode).
func writable(link string) bool {
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 && info.Mode()&0o200 == 0 {
		return false
	}
	to, err := os.Readlink(link)
	return err == nil && strings.HasPrefix(to, "/")
}

// mountOf is the mount that an open file is of; 0 if that is not told (before Linux 3.15).
func (f FS) mountOf(process string, fd int) uint64 {
	text, err := os.ReadFile(f.path(process, "fdinfo", strconv.Itoa(fd)))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(id), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// remote tells whether looking at a file of such a file system asks somebody who need
// not answer. Who has such files open is not seen: their server may have more writers
// than this machine.
func remote(kind string) bool {
	for _, far := range []string{"nfs", "cifs", "smb3", "fuse", "9p", "ceph", "afs"} {
		if strings.HasPrefix(kind, far) {
			return true
		}
	}
	return false
}
