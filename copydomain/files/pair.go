package files

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Move is one run to copy, in bytes.
type Move struct {
	Src, Dst, Len int64
}

// Transport is a source and a destination file, open. Each call is one system call,
// or one of each file. What copies is not begun after notAfter, and fails with
// [boottime.ErrPassed] then.
type Transport interface {
	// Clone makes the run of the destination share the blocks of the source.
	Clone(m Move, notAfter boottime.Limit) error
	// CopyRange copies, and tells how many bytes of the run.
	CopyRange(m Move, notAfter boottime.Limit) (int64, error)
	// Sizes are those of both files now.
	Sizes() (src, dst int64, err error)
	// Settle writes back what is dirty in the caches of both files.
	Settle() error
	// Sync makes the destination durable.
	Sync() error
	Close() error
}

// Pair is two files of this machine.
type Pair struct {
	src, dst         int
	srcPath, dstPath string
}

var _ Transport = (*Pair)(nil)

// Open opens the source for reading and the destination for writing, both through
// the page cache, which the calls keep in order.
func Open(src, dst Name) (*Pair, error) {
	from, _, err := src.open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	to, _, err := dst.open(unix.O_RDWR)
	if err != nil {
		return nil, errors.Join(err, opError("close", src.Path, unix.Close(from)))
	}
	return &Pair{from, to, src.Path, dst.Path}, nil
}

// Clone implements [Transport]. A length of 0, which would mean the rest of the
// source, is no move.
func (p *Pair) Clone(m Move, notAfter boottime.Limit) error {
	if m.Len <= 0 {
		return opError("FICLONERANGE", p.dstPath, blocks.ErrInvalid)
	}
	return opError("FICLONERANGE", p.dstPath, cloneRange(p.dst, &unix.FileCloneRange{
		Src_fd: int64(p.src), Src_offset: uint64(m.Src), Src_length: uint64(m.Len), Dest_offset: uint64(m.Dst),
	}, notAfter.Instant()))
}

// CopyRange implements [Transport].
func (p *Pair) CopyRange(m Move, notAfter boottime.Limit) (int64, error) {
	n, err := copyFileRange(p.src, m.Src, p.dst, m.Dst, m.Len, notAfter.Instant())
	return n, opError("copy_file_range", p.dstPath, err)
}

// Sizes implements [Transport].
func (p *Pair) Sizes() (src, dst int64, err error) {
	var from, to unix.Stat_t
	err = errors.Join(opError("fstat", p.srcPath, unix.Fstat(p.src, &from)), opError("fstat", p.dstPath, unix.Fstat(p.dst, &to)))
	return from.Size, to.Size, err
}

// Settle implements [Transport].
func (p *Pair) Settle() error {
	return errors.Join(opError("fsync", p.srcPath, unix.Fsync(p.src)), p.Sync())
}

// Sync implements [Transport].
func (p *Pair) Sync() error { return opError("fsync", p.dstPath, unix.Fsync(p.dst)) }

// Close implements [Transport].
func (p *Pair) Close() error {
	return errors.Join(opError("close", p.srcPath, unix.Close(p.src)), opError("close", p.dstPath, unix.Close(p.dst)))
}
