// Package alias tells whether two regular files may be one by two names. Numbers of device and
// inode do not: some file systems show what lies elsewhere, under numbers that they make
// themselves, as an overlay does the files of its layers.
package alias

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// File is a regular file that can be looked at.
type File interface {
	// Statx asks for the status of it, with these flags of statx(2).
	Statx(flags int, st *unix.Statx_t) error
	// Statfs asks for its file system.
	Statfs(st *unix.Statfs_t) error
}

// Path is the file that a path leads to.
type Path string

// Statx implements [File].
func (p Path) Statx(flags int, st *unix.Statx_t) error {
	return unix.Statx(unix.AT_FDCWD, string(p), flags, unix.STATX_BASIC_STATS, st)
}

// Statfs implements [File].
func (p Path) Statfs(st *unix.Statfs_t) error { return unix.Statfs(string(p), st) }

// ownStorage are file systems whose files are their own (include/uapi/linux/magic.h; the last ones
// from fs/ntfs3, fs/bcachefs, fs/jfs and OpenZFS). Overlay, FUSE, NFS, SMB, 9p, eCryptfs are
// none of them.
var ownStorage = []int64{
	unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.RAMFS_MAGIC,
	unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC, unix.REISERFS_SUPER_MAGIC, unix.HUGETLBFS_MAGIC, unix.ISOFS_SUPER_MAGIC,
	unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1, 0x7366746e, 0xca451a4e, 0x3153464a, 0x2fc12fc1,
}

// tries is how often it is waited for a file to stand still while two are compared.
const tries = 100

// May tells whether two files that have different numbers of device and inode may be one: their
// length and both times, of modification and of the status, are equal, and one of them is of a
// file system that may show the files of another one. Nobody can set the time of the status, so
// who changes one of two files (touch(1)) tells them apart.
func May(a, b File) (bool, error) {
	for range tries {
		before, err := look(a)
		if err != nil {
			return false, err
		}
		other, err := look(b)
		if err != nil {
			return false, err
		}
		after, err := look(a)
		switch {
		case err != nil || before.device == other.device: // one file system tells its files apart
			return false, err
		case before == after && before.attributes != other.attributes:
			return false, nil
		case before == after:
			own, err := own(a, b)
			return !own, err
		}
	}
	return true, nil
}

// own tells whether both files are known to be of file systems of their own.
func own(files ...File) (bool, error) {
	for _, f := range files {
		var st unix.Statfs_t
		if err := f.Statfs(&st); err != nil {
			return false, err
		}
		if !slices.Contains(ownStorage, int64(st.Type)) {
			return false, nil
		}
	}
	return true, nil
}

// status is where a file is, and its attributes, which are equal under each of its names.
type status struct{ device, attributes string }

// look asks a server as well. SMB has times in units of 100 ns.
func look(f File) (status, error) {
	const unit = 100
	var now unix.Statx_t
	if err := f.Statx(unix.AT_STATX_FORCE_SYNC, &now); err != nil {
		return status{}, err
	}
	return status{
		fmt.Sprint(now.Dev_major, now.Dev_minor),
		fmt.Sprint(now.Size, now.Mtime.Sec, now.Mtime.Nsec/unit, now.Ctime.Sec, now.Ctime.Nsec/unit),
	}, nil
}
