package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/durable"
)

// directory is what replacing a file needs of a file system.
type directory interface {
	// create makes a new, empty file that its maker has locked, under a name that
	// nothing has.
	create(name string) (file, error)
	// unchanged fails if by now the name is that of another file than the one that is held.
	unchanged(name string, held file) error
	rename(from, to string) error
	remove(name string) error
	// sync makes names durable.
	sync() error
	io.Closer
}

// file is one that is being written.
type file interface {
	io.WriteCloser
	Sync() error
}

// osDirectory is a directory of this machine. Names are looked up in the open
// directory, so that no link on the way can lead elsewhere from one call to the
// next.
type osDirectory struct{ *os.File }

func openDirectory(path string) (osDirectory, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return osDirectory{}, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil {
		err = lockable(&st)
	}
	if err == nil && appendOnly(int(f.Fd())) {
		err = ErrAppendOnly
	}
	if err != nil {
		return osDirectory{}, errors.Join(err, f.Close())
	}
	return osDirectory{f}, nil
}

// lockable refuses a directory in which everybody can take files away and give their
// names to others: each file there may be one of ours, but not the one that is meant.
func lockable(st *unix.Stat_t) error {
	if st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("%w: everybody may rename files in its directory", ErrUnsafe)
	}
	return nil
}

// appendOnly is what chattr +a makes of a directory. A file system that does not tell has
// no such directories.
func appendOnly(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_APPEND != 0
}

func (d osDirectory) fd() int { return int(d.Fd()) }

func (d osDirectory) create(name string) (file, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if err := lock(f); err != nil {
		return nil, errors.Join(err, d.remove(name), f.Close())
	}
	return f, nil
}

// unchanged also accepts that nothing has the name.
func (d osDirectory) unchanged(name string, held file) error {
	var opened, at unix.Stat_t
	if err := unix.Fstat(int(held.(*os.File).Fd()), &opened); err != nil {
		return err
	}
	err := unix.Fstatat(d.fd(), name, &at, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err == nil && !same(&at, &opened):
		return ErrReplaced
	}
	return err
}

func same(a, b *unix.Stat_t) bool { return a.Ino == b.Ino && a.Dev == b.Dev }

func (d osDirectory) rename(from, to string) error {
	return unix.Renameat(d.fd(), from, d.fd(), to)
}

func (d osDirectory) remove(name string) error { return unix.Unlinkat(d.fd(), name, 0) }

func (d osDirectory) sync() error { return durable.Directory(d.File) }

// lock claims a file until it is closed, by this process and by whatever system
// call of it still runs when it has been killed.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

// maxRaces bounds how often a file may be replaced while it is opened.
const maxRaces = 16

// open opens and locks a file. If there is none, it is made.
func (d osDirectory) open(name string) (f *os.File, made bool, err error) {
	for range maxRaces {
		f, made, err = d.openOnce(name)
		if !errors.Is(err, errReplaced) {
			return f, made, err
		}
	}
	return nil, false, err
}

var errReplaced = errors.New("replaced while it was opened")

func (d osDirectory) openOnce(name string) (f *os.File, made bool, err error) {
	var before, at unix.Stat_t
	// Opening a device or a FIFO can have effects, so look before.
	err = unix.Fstatat(d.fd(), name, &before, unix.AT_SYMLINK_NOFOLLOW)
	if made = errors.Is(err, unix.ENOENT); err == nil {
		err = trusted(&before)
	}
	if err != nil && !made {
		return nil, false, err
	}
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	if made {
		flags |= unix.O_CREAT | unix.O_EXCL // what somebody else makes is not ours to remove
	}
	fd, err := unix.Openat(d.fd(), name, flags, 0o600)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, false, fmt.Errorf("%w: a symbolic link", ErrUnsafe)
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT):
		return nil, false, errReplaced
	}
	if err != nil {
		return nil, false, err
	}
	f = os.NewFile(uintptr(fd), name)
	if err := d.claim(f, name, &at); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return f, made, nil
}

// claim locks the open file and makes sure that it still has the name.
func (d osDirectory) claim(f *os.File, name string, at *unix.Stat_t) error {
	var opened unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &opened); err != nil {
		return err
	}
	if opened.Nlink == 0 {
		return errReplaced
	}
	if err := trusted(&opened); err != nil {
		return err
	}
	if err := lock(f); err != nil {
		return err
	}
	err := unix.Fstatat(d.fd(), name, at, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && !same(at, &opened) {
		return errReplaced
	}
	return err
}

// trusted refuses a file that somebody else could have made, or can change.
func trusted(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%w: a symbolic link", ErrUnsafe)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: not a regular file", ErrUnsafe)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%w: it belongs to user %d", ErrUnsafe, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%w: others may write to it", ErrUnsafe)
	case st.Nlink > 1:
		return fmt.Errorf("%w: it has %d names", ErrUnsafe, st.Nlink)
	}
	return nil
}
