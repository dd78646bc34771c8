package exstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

// pair is one entry of the list: the chunk old was copied to the chunk new.
type pair struct{ old, new uint64 }

// image writes a store the way the kernel does: chunk by chunk, in the order
// of the list.
type image struct {
	bytes []byte
	chunk int
	n     int
}

// newImage is an empty store on a device of that many chunks, in bytes.
func newImage(chunk, chunks int) *image {
	m := &image{bytes: make([]byte, chunk*chunks), chunk: chunk}
	for i, word := range []uint32{0x70416e53, 1, 1, uint32(chunk / 512)} {
		binary.LittleEndian.PutUint32(m.bytes[4*i:], word)
	}
	return m
}

// add appends an exception.
func (m *image) add(old, new uint64) {
	perChunk := m.chunk / 16
	area := 1 + m.n/perChunk*(perChunk+1)
	entry := m.bytes[area*m.chunk+m.n%perChunk*16:]
	binary.LittleEndian.PutUint64(entry, old)
	binary.LittleEndian.PutUint64(entry[8:], new)
	m.n++
}

// allocate tells where the kernel copies the chunk number n: to the first
// chunk that is neither header nor area.
func (m *image) allocate(n int) uint64 {
	perChunk := m.chunk / 16
	return uint64(n + 2 + n/perChunk)
}

func (m *image) size() remap.Sector { return remap.Sector(len(m.bytes) / 512) }

func (m *image) mustRead(t golden.TB) *Store {
	t.Helper()
	s, err := Read(strict{t, m.bytes}, m.size())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// strict is a device that insists on what the package says of its reads.
type strict struct {
	golden.TB
	bytes []byte
}

func (s strict) ReadAt(p []byte, off int64) (int, error) {
	s.Helper()
	end := off + int64(len(p))
	switch {
	case off%4096 != 0 || len(p) == 0 || len(p) > 64<<10:
		s.Fatalf("read of %d bytes at %d", len(p), off)
	case end%4096 != 0 && end != int64(len(s.bytes)):
		s.Fatalf("read of [%d,%d) of a device of %d bytes", off, end, len(s.bytes))
	case end > int64(len(s.bytes)):
		s.Fatalf("read of [%d,%d) beyond the end, %d", off, end, len(s.bytes))
	}
	return bytes.NewReader(s.bytes).ReadAt(p, off)
}

// broken is a device that fails from a position on.
type broken struct {
	io.ReaderAt
	from int64
}

var errBroken = errors.New("medium error")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, off)
}

// equal tells whether two stores answer alike.
func equal(a, b *Store) bool {
	return a.geometry == b.geometry && a.count == b.count && slices.Equal(a.runs, b.runs)
}

func TestImageIsAligned(t *testing.T) {
	for _, sectors := range []int{1, 2, 4, 8, 32, 256} {
		m := newImage(sectors*512, 2500)
		for i := range 2000 {
			if at := m.allocate(i); at < 2200 {
				m.add(uint64(3*i), at)
			}
		}
		m.bytes = m.bytes[:len(m.bytes)-sectors*512+512] // the end of the device is in the middle of a chunk
		if s := m.mustRead(t); s.Len() != uint64(m.n) || s.ChunkSize() != remap.Sector(sectors) {
			t.Errorf("%d sectors: %d exceptions, chunks of %d", sectors, s.Len(), s.ChunkSize())
		}
	}
}
