package exstore

import (
	"errors"
	"fmt"
	"io"

	"github.com/dmcopy/dmcopy/remap"
)

const (
	// alignment is what direct I/O asks for on every device that we know.
	alignment = 4096
	// window is the longest read.
	window = 64 << 10
)

// input reads a device in windows that start and end at multiples of
// alignment, or at the end of the device.
type input struct {
	r    io.ReaderAt
	size remap.Sector
	buf  []byte
}

func newInput(r io.ReaderAt, size remap.Sector) (*input, error) {
	if size < 1 || size > remap.MaxSectors {
		return nil, fmt.Errorf("%w: device of %d sectors", ErrFormat, size)
	}
	return &input{r, size, make([]byte, window)}, nil
}

// at returns up to n bytes from an offset on, at least one sector or n bytes
// of them. They are valid until the next call.
func (in *input) at(offset, n int64) ([]byte, error) {
	first := offset / alignment * alignment
	last := min(first+window, (offset+n+alignment-1)/alignment*alignment, in.size.Bytes())
	if offset >= last {
		return nil, fmt.Errorf("%w: byte %d", ErrTruncated, offset)
	}
	buf := in.buf[:last-first]
	got, err := in.r.ReadAt(buf, first)
	switch {
	case got == len(buf):
		return buf[offset-first : min(int64(len(buf)), offset-first+n)], nil
	case err == nil || errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: byte %d", ErrTruncated, first+int64(got))
	}
	return nil, err
}
