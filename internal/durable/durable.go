// Package durable makes the names of files durable. Whoever has written to a new file, or to
// one that was renamed, and has it flushed, has not done that yet: the name belongs to the directory
// (fsync(2), NOTES).
package durable

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Directory makes all names durable that an open directory has. Where the file system cannot do that
// for a directory alone (fs/sync.c, vfs_fsync_range: EINVAL), all of the file system is written.
func Directory(dir *os.File) error {
	err := dir.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return FileSystem(int(dir.Fd()))
	}
	return err
}

// Names is [Directory] by the path of one.
func Names(path string) error {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(Directory(dir), dir.Close())
}

// Name makes the name durable by which a path leads to an open regular file. If the directory
// that has the name cannot be opened, or is not found, all of the file system is written. A file that
// has no name needs none.
func Name(fd int, path string) error {
	var opened unix.Stat_t
	if err := unix.Fstat(fd, &opened); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if opened.Nlink == 0 {
		return nil
	}
	dir := directoryOf(path, &opened)
	if dir == nil {
		return FileSystem(fd)
	}
	return errors.Join(Directory(dir), dir.Close())
}

// directoryOf opens the directory in which the file has the name that a path leads to; nil if that
// is not possible.
func directoryOf(path string, file *unix.Stat_t) *os.File {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	dir, err := os.OpenFile(filepath.Dir(real), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	var named unix.Stat_t
	err = unix.Fstatat(int(dir.Fd()), filepath.Base(real), &named, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || named.Dev != file.Dev || named.Ino != file.Ino {
		dir.Close() // it was only looked at
		return nil
	}
	return dir
}

// FileSystem makes all durable that is on the file system of an open file. It fails
// as well if something else could not be written there since the file was opened (syncfs(2); before Linux 5.8 it tells
// of nothing that failed).
func FileSystem(fd int) error { return os.NewSyscallError("syncfs", unix.Syncfs(fd)) }
