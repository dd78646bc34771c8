package emulation

import (
	"errors"
	"math"
	"os"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// opened is what a File is opened as; its methods are those of a File as well.
type opened = blockio.File

// File is a Device on a block device or regular file, opened for direct I/O
// where there is any.
type File struct {
	*opened
	size   int64
	status *blockio.Status

	// edges writes what fills no whole page of a regular file, through the page
	// cache: direct I/O would have to read and write the rest of its block, which
	// can be somebody else's, and make a file longer whose last block is not full.
	// It is nil where writes are of whole blocks, or all go through the page cache.
	edges *blockio.File
	// page is what is written in one way only, directly or through the page cache: a
	// block, or a page of the cache, whichever is larger.
	page int64
}

var _ Device = (*File)(nil)

// Mode says how to open.
type Mode = blockio.Mode

// Values of [Mode], which can be added up.
const (
	// Write opens for reading and writing instead of only for reading.
	Write = blockio.Write
	// Exclusive claims a block device (O_EXCL): EBUSY if somebody else has.
	Exclusive = blockio.Exclusive
	// Buffered goes through the page cache.
	Buffered = blockio.Buffered
)

// Open opens path. The errors are those of blockio.Open.
func Open(path string, mode Mode) (*File, error) {
	f, err := blockio.Open(path, mode)
	if err != nil {
		return nil, err
	}
	return fileOf(f, mode)
}

// OpenDevice opens the block device with that number at path. The errors are those of
// blockio.OpenDevice.
func OpenDevice(path string, major, minor uint32, mode Mode) (*File, error) {
	f, err := blockio.OpenDevice(path, major, minor, mode)
	if err != nil {
		return nil, err
	}
	return fileOf(f, mode)
}

// fileOf owns f.
func fileOf(f *blockio.File, mode blockio.Mode) (*File, error) {
	d, err := newFile(f, mode)
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func newFile(f *blockio.File, mode blockio.Mode) (*File, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if !f.IsDevice() && f.Direct() && size > math.MaxInt64-int64(f.BlockSize()) {
		return buffered(f, mode)
	}
	d := &File{opened: f, size: size, status: f.Status(), page: int64(max(f.BlockSize(), os.Getpagesize()))}
	if f.IsDevice() || mode&blockio.Write == 0 || f.BlockSize() == 1 {
		return d, nil
	}
	if d.edges, err = blockio.Open(f.Path(), blockio.Write|blockio.Buffered); err != nil {
		return nil, err
	}
	if d.edges.ID() != f.ID() {
		d.edges.Close()
		return nil, &blockio.Error{Op: "open", Path: f.Path(), Err: blockio.ErrReplaced}
	}
	return d, nil
}

// buffered opens a file without direct I/O, which would read the last block as a
// whole, and so beyond the largest offset there is (rw_verify_area in
// fs/read_write.c).
func buffered(f *blockio.File, mode blockio.Mode) (*File, error) {
	again, err := blockio.Open(f.Path(), mode|blockio.Buffered)
	if err != nil {
		return nil, err
	}
	if again.ID() != f.ID() {
		again.Close()
		return nil, &blockio.Error{Op: "open", Path: f.Path(), Err: blockio.ErrReplaced}
	}
	d, err := newFile(again, mode)
	if err != nil {
		again.Close()
		return nil, err
	}
	f.Close()
	return d, nil
}

// ReadAt implements Device by pread.
func (d *File) ReadAt(p []byte, off int64) (int, error) { return d.Pread(p, off) }

// WriteAt implements Device by pwrite. A file that has become shorter is not made
// longer again; its error is blockio.ErrResized.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if err := d.whole(); err != nil {
		return 0, err
	}
	file, n := d.way(off, len(p))
	n, err := file.Pwrite(p[:n], off)
	if err == nil {
		err = d.whole()
	}
	return n, err
}

// whole tells whether a regular file is as long as it was. blockio.ErrResized.
func (d *File) whole() error {
	if d.IsDevice() {
		return nil
	}
	return d.status.Whole()
}

// way is where to write n bytes at off, and how many of them at a time.
func (d *File) way(off int64, n int) (*blockio.File, int) {
	if d.edges == nil {
		return d.opened, n
	}
	if into := off % d.page; into != 0 || int64(n) < d.page {
		return d.edges, int(min(int64(n), d.page-into))
	}
	return d.opened, n - n%int(d.page)
}

// Async is how transfers are left to the kernel (see [Async]): as ReadAt and WriteAt make them.
// It is nil for a regular file without locks: a request of io_uring can outlive its process, and
// what a lock shows then is that the file is still in use.
func (d *File) Async() Start {
	if !d.IsDevice() && errors.Is(d.Locks().CheckToWrite(), blockio.ErrNoLocks) {
		return nil
	}
	return d.start
}

func (d *File) start(write bool, off int64, n int) (Transfer, error) {
	file, verb := d.opened, "pread"
	if write {
		verb = "pwrite"
		if err := d.whole(); err != nil {
			return Transfer{}, err
		}
		file, n = d.way(off, n)
	}
	fd, err := file.Use()
	if err != nil {
		return Transfer{}, err
	}
	return Transfer{FD: fd, Len: n, End: func(n int, err error) (int, error) {
		file.Release()
		if err != nil {
			return 0, &blockio.Error{Op: verb, Path: file.Path(), Err: err}
		}
		if write {
			err = d.whole()
		}
		return n, err
	}}, nil
}

// WriteUnit implements Device.
func (d *File) WriteUnit() int {
	if d.edges != nil {
		return 1
	}
	return d.BlockSize()
}

// Size implements Device: the size when it was opened.
func (d *File) Size() int64 { return d.size }

// SizeNow is the size that it has by now.
func (d *File) SizeNow() (int64, error) { return d.opened.Size() }

// Name implements Device.
func (d *File) Name() string { return d.Path() }

// Flush implements Device by fdatasync, which flushes the volatile cache of a
// block device.
func (d *File) Flush() error { return d.Datasync() }

// SyncName makes the name of a regular file durable.
func (d *File) SyncName() error { return d.status.SyncName() }

// Close closes the file.
func (d *File) Close() error {
	if d.edges != nil {
		if err := d.edges.Close(); err != nil {
			d.opened.Close()
			return err
		}
	}
	return d.opened.Close()
}
