// Package blockio opens block devices and regular files for direct I/O, and is
// the one place for the ioctls of block devices. Offsets and lengths are bytes.
package blockio

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	// ErrFileType is returned for a path that is neither a block device nor a
	// regular file.
	ErrFileType = errors.New("neither a block device nor a regular file")
	// ErrReplaced means that a path led to something else from one moment to the
	// next.
	ErrReplaced = errors.New("replaced while it was opened")
)

// Error is the error of all functions here. It unwraps to the errno or to a
// sentinel.
type Error struct {
	Op   string // the system call or ioctl
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Mode says how to open.
type Mode int

const (
	// Write opens for reading and writing instead of only for reading.
	Write Mode = 1 << iota
	// Exclusive claims a block device (O_EXCL): EBUSY if it is mounted, used by
	// another device, or claimed by somebody else. It means nothing for a
	// regular file.
	Exclusive
	// Buffered goes through the page cache, where direct I/O is not wanted.
	Buffered
)

// File is an open block device or regular file. Its methods may be called
// concurrently.
type File struct {
	path      string
	device    bool // a block device, not a regular file
	direct    bool
	blockSize int
	id        string
	// opened is what a regular file was when it was opened: see [File.Status].
	opened unix.Statx_t

	// mu keeps the descriptor from being closed, and its number from being
	// given to another file, while a system call uses it.
	mu sync.RWMutex
	fd int // -1 after Close
}

// Open opens a block device or regular file with O_DIRECT and O_CLOEXEC.
// Where the file system of a regular file has no direct I/O, the file is
// opened buffered; [File.Direct] tells.
func Open(path string, mode Mode) (*File, error) {
	// Opening other files can have effects (a FIFO hangs, a tape rewinds), so
	// look before, and once more at what was opened.
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &Error{"stat", path, err}
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFBLK && kind != unix.S_IFREG {
		return nil, &Error{"open", path, ErrFileType}
	}
	f := &File{path: path, device: st.Mode&unix.S_IFMT == unix.S_IFBLK, direct: mode&Buffered == 0}

	fd, err := f.open(path, mode)
	if err != nil {
		return nil, &Error{"open", path, err}
	}
	f.fd = fd
	if err := f.identify(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if f.direct && !f.device && f.blockSize == 0 { // O_DIRECT was accepted, but is not there
		unix.Close(fd)
		return Open(path, mode|Buffered)
	}
	return f, nil
}

// OpenDevice is [Open] for the block device with that number, wherever path leads to:
// [ErrReplaced] if it is another one.
func OpenDevice(path string, major, minor uint32, mode Mode) (*File, error) {
	f, err := Open(path, mode)
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("block:%d:%d", major, minor); f.id != want {
		err := &Error{"open", path, fmt.Errorf("%w: %s instead of %s", ErrReplaced, f.id, want)}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Look opens a regular file to be looked at only: nothing can be read or written, and nobody is
// kept from anything (open(2), O_PATH).
func Look(path string) (*File, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &Error{"open", path, err}
	}
	f := &File{path: path, fd: fd}
	if err := f.identify(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return f, nil
}

func (f *File) open(path string, mode Mode) (int, error) {
	flags := unix.O_CLOEXEC | unix.O_RDONLY
	if mode&Write != 0 {
		flags = unix.O_CLOEXEC | unix.O_RDWR
	}
	if mode&Exclusive != 0 && f.device {
		flags |= unix.O_EXCL
	}
	if f.direct {
		fd, err := retry(func() (int, error) { return unix.Open(path, flags|unix.O_DIRECT, 0) })
		if f.device || !errors.Is(err, unix.EINVAL) {
			return fd, err
		}
		f.direct = false // open(2): EINVAL, the file system has no O_DIRECT
	}
	return retry(func() (int, error) { return unix.Open(path, flags, 0) })
}

// identify reads type, identity and block size from the open descriptor.
func (f *File) identify() error {
	var st unix.Statx_t
	err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_DIOALIGN, &st)
	if err != nil {
		return &Error{"statx", f.path, err}
	}
	isDevice := st.Mode&unix.S_IFMT == unix.S_IFBLK
	if isDevice != f.device || !isDevice && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return &Error{"open", f.path, ErrReplaced}
	}
	if f.device {
		f.id = fmt.Sprintf("block:%d:%d", st.Rdev_major, st.Rdev_minor)
		size, err := ioctlUint32(f.fd, blkSSZGet)
		if err != nil {
			return &Error{"BLKSSZGET", f.path, err}
		}
		f.blockSize = int(size)
		return nil
	}
	f.id = fileID(&st)
	f.opened = st
	switch {
	case !f.direct:
		f.blockSize = 1
	case st.Mask&unix.STATX_DIOALIGN != 0:
		// Both 0: no direct I/O on this file (statx(2)).
		f.blockSize = int(max(st.Dio_mem_align, st.Dio_offset_align))
	default:
		// Before Linux 6.1, and on file systems that do not say: a page is a
		// multiple of what they can demand.
		f.blockSize = os.Getpagesize()
	}
	return nil
}

func fileID(st *unix.Statx_t) string {
	return fmt.Sprintf("file:%d:%d:%d", st.Dev_major, st.Dev_minor, st.Ino)
}

// Path is the name that the file was opened by.
func (f *File) Path() string { return f.path }

// IsDevice says whether it is a block device, not a regular file.
func (f *File) IsDevice() bool { return f.device }

// Direct says whether transfers bypass the page cache. It is always true for
// block devices, unless opened Buffered.
func (f *File) Direct() bool { return f.direct }

// ID is equal for two Files exactly when they are the same block device or the
// same regular file.
func (f *File) ID() string { return f.id }

// BlockSize is the unit in bytes to which offset, length and memory of a
// transfer must be aligned: the logical block size of a device (BLKSSZGET),
// what the file system demands of direct I/O (STATX_DIOALIGN), and 1 for a
// buffered regular file.
func (f *File) BlockSize() int { return f.blockSize }

// Size is the current size in bytes (BLKGETSIZE64, or fstat).
func (f *File) Size() (int64, error) {
	if f.device {
		var size uint64
		err := f.do("BLKGETSIZE64", func(fd int) (err error) {
			size, err = ioctlUint64(fd, blkGetSize64)
			return err
		})
		return int64(size), err
	}
	var st unix.Stat_t
	err := f.do("fstat", func(fd int) error { return unix.Fstat(fd, &st) })
	return st.Size, err
}

// ReadOnly says whether the device is set to read-only (BLKROGET). ENOTTY for a
// regular file.
func (f *File) ReadOnly() (bool, error) {
	var ro uint32
	err := f.do("BLKROGET", func(fd int) (err error) {
		ro, err = ioctlUint32(fd, blkROGet)
		return err
	})
	return ro != 0, err
}

// Zero makes [off, off+n) read as zeroes: BLKZEROOUT on a block device, which
// uses the write-zeroes command of the device or writes zeroes and never
// discards; a hole in a regular file, or an unwritten extent where the file
// system has no holes. The size of the file does not change. The error is
// errors.ErrUnsupported if there is no such operation, and nothing was done.
func (f *File) Zero(off, n int64) error {
	if f.device {
		return f.do("BLKZEROOUT", func(fd int) error { return ioctlZeroOut(fd, off, n) })
	}
	return f.do("fallocate", func(fd int) error {
		err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if errors.Is(err, errors.ErrUnsupported) {
			err = unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		}
		return err
	})
}

// Sync writes data and metadata to stable storage (fsync).
func (f *File) Sync() error { return f.do("fsync", unix.Fsync) }

// Datasync writes data, and the metadata needed to read it, to stable storage
// (fdatasync). On a block device it flushes the volatile cache of the device.
func (f *File) Datasync() error { return f.do("fdatasync", unix.Fdatasync) }

// Pread is one pread(2): it may be short, and 0 is the end of the file.
func (f *File) Pread(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.fd < 0 {
		return 0, &Error{"pread", f.path, os.ErrClosed}
	}
	n, err := unix.Pread(f.fd, p, off)
	if err != nil {
		return 0, &Error{"pread", f.path, err}
	}
	return n, nil
}

// Pwrite is one pwrite(2): it may be short.
func (f *File) Pwrite(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.fd < 0 {
		return 0, &Error{"pwrite", f.path, os.ErrClosed}
	}
	n, err := unix.Pwrite(f.fd, p, off)
	if err != nil {
		return 0, &Error{"pwrite", f.path, err}
	}
	return n, nil
}

// Use returns the descriptor for something that is not done here, and keeps it open until
// [File.Release]. The error is os.ErrClosed.
func (f *File) Use() (fd int, err error) {
	// Whoever closes the file waits for those that use it, and they must not wait for him.
	if !f.mu.TryRLock() {
		return -1, &Error{"use", f.path, os.ErrClosed}
	}
	if f.fd < 0 {
		f.mu.RUnlock()
		return -1, &Error{"use", f.path, os.ErrClosed}
	}
	return f.fd, nil
}

// Release ends one use.
func (f *File) Release() { f.mu.RUnlock() }

// Close waits for system calls that use the file and closes it.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return &Error{"close", f.path, os.ErrClosed}
	}
	err := unix.Close(f.fd)
	f.fd = -1
	if err != nil {
		return &Error{"close", f.path, err}
	}
	return nil
}

// do runs one system call on the descriptor and names it in the error.
func (f *File) do(op string, call func(fd int) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.fd < 0 {
		return &Error{op, f.path, os.ErrClosed}
	}
	if err := call(f.fd); err != nil {
		return &Error{op, f.path, err}
	}
	return nil
}

// retry repeats a call that a signal has interrupted, as os.OpenFile does.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
