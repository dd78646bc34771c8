package files

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Name is how a file is found, and how it is recognized.
type Name struct {
	Path string
	// ID is "file:MAJOR:MINOR:INODE" of fstat(2).
	ID string
}

// open opens the file that is meant, and no other: paths pass from file to file.
// Opening something else can have effects (a FIFO hangs, a tape rewinds), so that it
// is looked at before, and again when it is open.
func (n Name) open(flags int) (fd int, st unix.Stat_t, err error) {
	if err := unix.Stat(n.Path, &st); err != nil {
		return -1, st, opError("stat", n.Path, err)
	}
	if err := n.check(&st); err != nil {
		return -1, st, err
	}
	fd, err = retry(func() (int, error) { return unix.Open(n.Path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		return -1, st, opError("open", n.Path, err)
	}
	if err = opError("fstat", n.Path, unix.Fstat(fd, &st)); err == nil {
		err = n.check(&st)
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// check compares what was found with what is meant.
func (n Name) check(st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return opError("stat", n.Path, ErrNotRegular)
	}
	if id := fmt.Sprintf("file:%s:%d", device(st), st.Ino); id != n.ID {
		return opError("stat", n.Path, fmt.Errorf("%w: %s instead of %s", ErrChanged, id, n.ID))
	}
	return nil
}

// Look tells which file system a file is on. Nothing is changed.
func Look(n Name) (FileSystem, error) {
	fd, st, err := n.open(unix.O_RDONLY)
	if err != nil {
		return FileSystem{}, err
	}
	f, err := identify(fd, &st)
	return f, errors.Join(opError("statfs", n.Path, err), opError("close", n.Path, unix.Close(fd)))
}

// LookAt is [Look] for a file or directory by its name only.
func LookAt(path string) (FileSystem, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return FileSystem{}, opError("stat", path, err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return FileSystem{}, opError("stat", path, ErrNotRegular)
	}
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		return FileSystem{}, opError("open", path, err)
	}
	f, err := identify(fd, &st)
	return f, errors.Join(opError("statfs", path, err), opError("close", path, unix.Close(fd)))
}

// retry repeats a call that a signal has interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
