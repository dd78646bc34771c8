package blocks

import "io"

// Backing is where a device in memory keeps its bytes; an *os.File or a [Memory].
type Backing interface {
	io.ReaderAt
	io.WriterAt
}

// Memory is a Backing of fixed size.
type Memory []byte

// ReadAt implements io.ReaderAt.
func (m Memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) {
		return 0, ErrOutOfRange
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (m Memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m))-int64(len(p)) {
		return 0, ErrOutOfRange
	}
	return copy(m[off:], p), nil
}
