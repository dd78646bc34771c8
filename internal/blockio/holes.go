package blockio

import (
	"errors"

	"golang.org/x/sys/unix"
)

// honest are the file systems that are known to tell the truth about holes, by the magic
// numbers of statfs(2): they look at pages that are not written yet, too (fs/iomap/seek.c;
// find_desired_extent in fs/btrfs/file.c; shmem_file_llseek in mm/shmem.c). Servers and
// FUSE pass on what others say; ZFS has called holes what was just written (OpenZFS issue
// 15526), and f2fs does not speak of compressed clusters.
var honest = map[int64]bool{
	unix.EXT4_SUPER_MAGIC: true, // ext2 and ext3 as well
	unix.XFS_SUPER_MAGIC:  true, unix.BTRFS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true,
}

// Holes are those of a regular file.
type Holes struct{ file *File }

// Holes are searched in the file.
func (f *File) Holes() Holes { return Holes{f} }

// Known says whether [Holes.At] can be relied on; false for a device.
func (h Holes) Known() (bool, error) {
	if h.file.device {
		return false, nil
	}
	var fs unix.Statfs_t
	err := h.file.do("fstatfs", func(fd int) error { return unix.Fstatfs(fd, &fs) })
	return honest[int64(fs.Type)], err
}

// seekable is how far a search for data and holes can be relied on. In a page that ends at
// 2^63 the kernel's position overflows, and the data of it is not found
// (mapping_seek_hole_data in mm/filemap.c); a page has up to 2 MiB.
const seekable = 1<<63 - 2<<20

// At says whether byte off of a regular file lies in a hole, which reads as zeroes, and
// where that, or the data, ends: behind off, and at the end of the file at the latest
// (lseek(2), SEEK_DATA and SEEK_HOLE). What was allocated and never written is a hole,
// too. ENXIO if off is not within the file. What cannot be searched counts as data.
func (h Holes) At(off int64) (hole bool, end int64, err error) {
	if off >= seekable {
		return h.unsearched(off)
	}
	data, err := h.seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		_, size, err := h.unsearched(off)
		return true, min(size, seekable), err
	case err != nil:
		return false, 0, err
	case data > off:
		return true, min(data, seekable), nil
	}
	end, err = h.seek(off, unix.SEEK_HOLE)
	return false, end, err
}

// unsearched is data to the end of the file.
func (h Holes) unsearched(off int64) (hole bool, end int64, err error) {
	end, err = h.file.Size()
	if err == nil && end <= off {
		err = &Error{"lseek", h.file.path, unix.ENXIO}
	}
	return false, end, err
}

func (h Holes) seek(off int64, whence int) (at int64, err error) {
	err = h.file.do("lseek", func(fd int) (err error) {
		at, err = unix.Seek(fd, off, whence)
		return err
	})
	return at, err
}
