package inuse

import (
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// FileUsers lists who uses a regular file, which package blockio calls by that ID and
// this process by that path: as the storage of loop devices, and whatever is made of these, as
// swap space, for writing, or by a lock (flock(2)), also by another name that it may have: see
// package alias. Processes that run this same program are left out: copies lock what they write, and
// can share a file by one name.
func FileUsers(sys sysblock.FS, path, id string) ([]Use, error) {
	u, err := newUsers(sys)
	if err != nil {
		return nil, err
	}
	copies := false
	u.writers = slices.DeleteFunc(u.writers, func(w writer) bool {
		is := w.id == id && !u.processes.isAnother(w.Process)
		copies = copies || is
		return is
	})
	u.join(path, id)
	if err := u.stored(id, &sysblock.Facts{}); err != nil {
		return nil, err
	}
	file, err := u.processes.openToAsk(path, id)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EWOULDBLOCK),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, sysblock.ErrGone): // it has not that name any more
		return u.uses, nil // who opens it will be told
	}
	if err != nil {
		return nil, sysfs.About(path, err)
	}
	return u.uses, errors.Join(u.asked(file, id, copies), file.Close())
}

// asked adds the users of a file who show when the file itself is asked.
func (u *users) asked(file *openFile, id string, copies bool) error {
	locks, err := locksOf(u.processes.Root, file, u.mounts)
	if err != nil {
		return err
	}
	for _, l := range locks {
		if p := u.processes.process(l.pid); u.processes.isAnother(p) {
			u.add(l.kind, &sysblock.Facts{}, p.String())
		}
	}
	if len(u.uses) > 0 || copies {
		return nil
	}
	return u.outOfSight(file, id)
}

// looks is how often somebody has to be out of sight to be so, and not just on his way.
const looks = 3

// outOfSight adds somebody who has a file open for writing and is none of those who are
// seen: another one, who comes or goes at the same time, is found by looking again.
func (u *users) outOfSight(file *openFile, id string) error {
	for range looks {
		if !file.written(u.mounts) {
			return nil
		}
		own, err := u.processes.written("proc/self", nil)
		if err != nil || slices.ContainsFunc(own, func(o opened) bool { return o.id == id }) {
			return err
		}
		now, err := u.processes.writers(u.mounts)
		if err != nil {
			return err
		}
		for _, w := range now {
			if w.id != id {
				continue
			}
			if u.processes.isAnother(w.Process) {
				u.add(Opened, &sysblock.Facts{}, w.String())
			}
			return nil
		}
	}
	u.add(Unseen, &sysblock.Facts{}, "somebody who does not show in /proc")
	return nil
}
