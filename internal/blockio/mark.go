package blockio

import "golang.org/x/sys/unix"

// Mark takes a shared lock of one byte at off (fcntl(2), open file description locks),
// which others can see and nobody has to respect. It lasts until Close. Nothing is
// read or written there: off can lie behind the end.
func (l Locks) Mark(off int64) error {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: off, Len: 1}
	return l.file.do("fcntl F_OFD_SETLK", func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
}

// Unmark gives a mark back, if there is one.
func (l Locks) Unmark(off int64) error {
	lock := unix.Flock_t{Type: unix.F_UNLCK, Start: off, Len: 1}
	return l.file.do("fcntl F_OFD_SETLK", func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
}

// Marked tells whether another open file of the same node has a mark at off.
func (l Locks) Marked(off int64) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: off, Len: 1}
	err := l.file.do("fcntl F_OFD_GETLK", func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock) })
	return err == nil && lock.Type == unix.F_RDLCK, err
}
