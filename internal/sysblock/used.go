package sysblock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Used lists what is used of all devices and files of this machine, by whoever uses them
// directly: what is only made of others is not among it. Whether one of them shares
// storage with another device is for who knows their tables.
func (f FS) Used() ([]Use, error) {
	u, err := f.newUsers()
	if err != nil {
		return nil, err
	}
	for i := range u.mounts {
		m := &u.mounts[i]
		for _, dev := range []remap.Dev{m.Dev, m.SourceDev} {
			u.use(blockID(dev), Use{Kind: m.kind(), Detail: m.where()})
		}
	}
	for dev, ids := range u.members {
		u.use(blockID(dev), Use{Kind: Member, Detail: "btrfs " + ids[0]})
	}
	for _, s := range u.swaps {
		for _, id := range s.ids {
			u.use(id, Use{Kind: Swap, Detail: s.path})
		}
	}
	if err := u.exported(); err != nil {
		return nil, err
	}
	for _, w := range u.writers {
		u.use(w.id, Use{Kind: Opened, Detail: w.String(), PID: w.PID, Own: !f.isAnother(w.Process), LVM: f.isLVM(w.Process)})
	}
	return u.uses, nil
}

// use adds a use of what package blockio calls by that ID, each kind once.
func (u *users) use(id string, use Use) {
	use.ID = id
	if text, ok := strings.CutPrefix(id, "block:"); ok {
		dev, err := remap.ParseDev(text)
		if err != nil {
			return
		}
		name, err := u.fs.name(dev)
		if err != nil {
			return // no device, or gone
		}
		use.Dev, use.Name = dev, name
	}
	same := func(o Use) bool { return o.ID == use.ID && o.Kind == use.Kind && o.PID == use.PID }
	if id != "" && !slices.ContainsFunc(u.uses, same) {
		u.uses = append(u.uses, use)
	}
}

// exported adds what targets of the kernel offer to others.
func (u *users) exported() error {
	for i := range u.exports {
		e := &u.exports[i]
		u.use(e.id, Use{Kind: Exported, Detail: e.what})
		if e.controller == "" {
			continue
		}
		devs, err := u.fs.Devs()
		if err != nil {
			return err
		}
		for _, dev := range devs {
			facts, err := u.fs.Facts(dev)
			if errors.Is(err, ErrGone) {
				continue
			}
			if err != nil {
				return err
			}
			if leadsTo(e.controller, facts) {
				u.use(blockID(dev), Use{Kind: Exported, Detail: e.what})
			}
		}
	}
	return nil
}

// kernelThread is a flag of a process (include/linux/sched.h, PF_KTHREAD).
const kernelThread = 0x00200000

// initPID is the first process, which has no device open for writing, and may be closed to
// everybody.
const initPID = 1

// Unseen counts the processes whose files this one may not look at: what they have open is
// not known. all is false if others do not even show (proc(5), hidepid).
func (f FS) Unseen() (n int, all bool, err error) {
	pids, err := f.numbers("proc")
	if err != nil {
		return 0, false, err
	}
	for _, pid := range pids {
		if pid == initPID {
			continue
		}
		process := filepath.Join("proc", strconv.Itoa(pid))
		if f.closed(process) && !f.isKernelThread(process) {
			n++
		}
	}
	// In every namespace of processes there is a first one.
	_, err = os.Lstat(f.path("proc/1"))
	return n, err == nil, nil
}

// closed tells whether a process may not be looked into: its descriptors are not listed, or,
// from another namespace of users, do not tell what they are of (fs/proc/base.c,
// proc_fd_access_allowed).
func (f FS) closed(process string) bool {
	fds, err := f.numbers(filepath.Join(process, "fd"))
	for _, fd := range fds {
		if _, err = os.Readlink(f.path(process, "fd", strconv.Itoa(fd))); err == nil {
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
func (f FS) isKernelThread(process string) bool {
	text, err := os.ReadFile(f.path(process, "stat"))
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
