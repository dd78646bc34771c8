package blockio

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errCached means that the kernel does not let go of a page of a device: somebody
// has it under I/O, or pinned.
var errCached = errors.New("a page of its cache is in use")

// Cache is what the page cache holds of a block device node. The caches of other nodes
// over the same storage are separate.
type Cache struct{ file *File }

// Cache is that of the node that was opened.
func (f *File) Cache() Cache { return Cache{f} }

// Invalidate writes back and drops all, but for pages that somebody has mapped: see
// [Cache.Unmap]. It needs CAP_SYS_ADMIN. ENOTTY for a regular file.
//
// BLKFLSBUF writes back as well, and tells nobody what could not be written, not
// even the next fsync (block/ioctl.c, blkdev_flushbuf; sync_blockdev reports and
// clears the error). So it is done before. No flush of the device is wanted: it
// would fail on a path that is down.
func (c Cache) Invalidate() error {
	if c.file.device {
		if err := c.writeBack(); err != nil {
			return err
		}
	}
	return c.file.do("BLKFLSBUF", func(fd int) error { return ioctl(fd, blkFlsBuf, nil) })
}

// writeBack writes what is dirty in the page cache, and fails if that failed, now or
// earlier without anybody being told (mm/filemap.c, file_check_and_advance_wb_err).
func (c Cache) writeBack() error {
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return c.file.do("sync_file_range", func(fd int) error { return unix.SyncFileRange(fd, 0, 0, wait) })
}

// unmapBytes is how much is unmapped by one call, whole pages, and less than what one
// write can have (MAX_RW_COUNT).
const unmapBytes = 1 << 30

// unmapTries is how often it is tried again where a page was dirty once more.
const unmapTries = 100

// Unmap drops all pages of a block device from the page cache, those that somebody
// has mapped as well: whoever looks again reads the device. What is dirty is written
// before. The device must be open for direct writes; nothing is written but that.
//
// Nothing but a direct write makes the kernel do it, and before it looks at what it is
// given: block/fops.c (blkdev_direct_write: kiocb_invalidate_pages comes first; up to
// Linux 6.5 mm/filemap.c, generic_file_direct_write). So this is a write that cannot
// take place: it begins in the middle of a block, and its memory cannot be read.
func (c Cache) Unmap() error {
	size, err := c.file.Size()
	if err != nil {
		return err
	}
	nothing, err := unix.Mmap(-1, 0, unmapBytes, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return &Error{"mmap", c.file.path, err}
	}
	defer unix.Munmap(nothing)
	for off := int64(0); off < size; off += unmapBytes {
		err := c.unmap(nothing[1:min(unmapBytes, size-off)], off+1)
		for try := 0; errors.Is(err, errCached) && try < unmapTries; try++ { // somebody writes there
			err = c.unmap(nothing[1:min(unmapBytes, size-off)], off+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c Cache) unmap(nothing []byte, off int64) error {
	if !c.file.device || !c.file.direct {
		return &Error{"unmap", c.file.path, os.ErrInvalid}
	}
	_, err := c.file.Pwrite(nothing, off)
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil // as it should be: the pages are gone
	case errors.Is(err, unix.EFAULT): // it would have written through the cache instead
		err = errCached
	case err == nil:
		err = fmt.Errorf("%w: a write of nothing did not fail", os.ErrInvalid)
	}
	return &Error{"unmap", c.file.path, err}
}

// OpenNode is [OpenDevice] by a node of its own, which nobody else sees: udev takes
// the end of a write to one of its nodes for a change of the disk, and reads its
// partition table again. The node is in a file system of memory that is mounted
// nowhere, and gone when the file is closed.
func OpenNode(major, minor uint32, mode Mode) (*File, error) {
	name := fmt.Sprintf("device %d:%d", major, minor)
	dir, err := hiddenDirectory()
	if err != nil {
		return nil, &Error{"fsmount", name, err}
	}
	defer unix.Close(dir)
	const node = "node"
	if err := unix.Mknodat(dir, node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return nil, &Error{"mknod", name, err}
	}
	return OpenDevice(fmt.Sprintf("/proc/self/fd/%d/%s", dir, node), major, minor, mode)
}

// hiddenDirectory is an empty directory in memory.
func hiddenDirectory() (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}
