package emulation

import "github.com/dmcopy/dmcopy/internal/blockio"

// File is a Device on a block device or regular file, opened for direct I/O
// where there is any.
type File struct {
	*blockio.File
	size int64

	// tail writes what is behind the last whole block of a regular file, through
	// the page cache: as direct I/O it would make the file longer. nil if there
	// is no such rest.
	tail *blockio.File
}

var _ Device = (*File)(nil)

// Open opens path. The errors are those of blockio.Open.
func Open(path string, mode blockio.Mode) (*File, error) {
	f, err := blockio.Open(path, mode)
	if err != nil {
		return nil, err
	}
	return fileOf(f, mode)
}

// OpenDevice opens the block device with that number at path. The errors are those of
// blockio.OpenDevice.
func OpenDevice(path string, major, minor uint32, mode blockio.Mode) (*File, error) {
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
	d := &File{File: f, size: size}
	if f.IsDevice() || mode&blockio.Write == 0 || size%int64(f.BlockSize()) == 0 {
		return d, nil
	}
	if d.tail, err = blockio.Open(f.Path(), blockio.Write|blockio.Buffered); err != nil {
		return nil, err
	}
	if d.tail.ID() != f.ID() {
		d.tail.Close()
		return nil, &blockio.Error{Op: "open", Path: f.Path(), Err: blockio.ErrReplaced}
	}
	return d, nil
}

// ReadAt implements Device by pread.
func (d *File) ReadAt(p []byte, off int64) (int, error) { return d.Pread(p, off) }

// WriteAt implements Device by pwrite.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if d.tail == nil || off+int64(len(p)) != d.size {
		return d.Pwrite(p, off)
	}
	if whole := len(p) &^ (d.BlockSize() - 1); whole > 0 {
		return d.Pwrite(p[:whole], off)
	}
	return d.tail.Pwrite(p, off)
}

// Size implements Device: the size when it was opened.
func (d *File) Size() int64 { return d.size }

// Name implements Device.
func (d *File) Name() string { return d.Path() }

// Flush implements Device by fdatasync, which flushes the volatile cache of a
// block device.
func (d *File) Flush() error { return d.Datasync() }

// Close closes the file.
func (d *File) Close() error {
	if d.tail != nil {
		if err := d.tail.Close(); err != nil {
			d.File.Close()
			return err
		}
	}
	return d.File.Close()
}
