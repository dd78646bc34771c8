package blockio

import (
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/alias"
)

var _ alias.File = (*File)(nil)

// Statx implements [alias.File].
func (f *File) Statx(flags int, st *unix.Statx_t) error {
	return f.do("statx", func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|flags, unix.STATX_BASIC_STATS, st)
	})
}

// Statfs implements [alias.File].
func (f *File) Statfs(st *unix.Statfs_t) error {
	return f.do("fstatfs", func(fd int) error { return unix.Fstatfs(fd, st) })
}
