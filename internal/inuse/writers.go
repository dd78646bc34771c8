package inuse

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// writer is a process that has something open for writing.
type writer struct {
	Process
	opened
}

// opened is something that is open.
type opened struct {
	id   string // as [sysfs.IDOf] has it
	link string // that leads to it
}

// writers lists which processes besides this one have block devices and regular
// files open for writing. Programs that serve disks to others have them open like that,
// and claim nothing.
func (p processes) writers(mounts []Mount) ([]writer, error) {
	far := make(map[uint64]bool)
	for _, m := range mounts {
		far[m.ID] = remote(m.Type)
	}
	own, err := os.Readlink(p.Path("proc/self"))
	if err != nil {
		own = "" // a /proc of a test
	}
	pids, err := p.numbers("proc")
	if err != nil {
		return nil, err
	}
	var all []writer
	for _, pid := range pids {
		if strconv.Itoa(pid) == own {
			continue
		}
		open, err := p.writtenByAny(pid, far)
		if err != nil {
			return nil, err
		}
		for _, o := range open {
			all = append(all, writer{p.process(pid), o})
		}
	}
	return all, nil
}

// writtenByAny lists what any thread of a process has open for writing. Threads can have
// descriptors of their own (unshare(2), CLONE_FILES), and the first one can have ended
// before the others, which leaves the directory of the process empty.
func (p processes) writtenByAny(pid int, far map[uint64]bool) ([]opened, error) {
	process := filepath.Join("proc", strconv.Itoa(pid))
	all, err := p.written(process, far)
	if err != nil && !hidden(err) {
		return nil, err
	}
	tids, err := p.numbers(filepath.Join(process, "task"))
	if err != nil && !hidden(err) {
		return nil, err
	}
	for _, tid := range tids {
		if tid == pid || p.shareFiles(pid, tid) {
			continue
		}
		more, err := p.written(filepath.Join(process, "task", strconv.Itoa(tid)), far)
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
func (p processes) shareFiles(a, b int) bool {
	if p.Root != "" {
		return false // these are not threads of this machine
	}
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return errno == 0 && order == 0
}

// written lists what a process has open for writing.
func (p processes) written(process string, far map[uint64]bool) ([]opened, error) {
	fds, err := p.numbers(filepath.Join(process, "fd"))
	if err != nil {
		return nil, err
	}
	var open []opened
	for _, fd := range fds {
		link := p.Path(process, "fd", strconv.Itoa(fd))
		if !writable(link) || far[p.mountOf(process, fd)] {
			continue
		}
		info, err := os.Stat(link)
		if err != nil {
			continue // closed since
		}
		id := sysfs.IDOf(info)
		if info.Mode()&fs.ModeCharDevice != 0 {
			id = names(p).behind(sysfs.NodeDev(info))
		}
		if id != "" {
			open = append(open, opened{id, link})
		}
	}
	return open, nil
}

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
func (p processes) mountOf(process string, fd int) uint64 {
	text, err := os.ReadFile(p.Path(process, "fdinfo", strconv.Itoa(fd)))
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
