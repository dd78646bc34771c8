package exstore

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

const (
	entrySize = 16
	// maxChunkSize is the largest power of two that the kernel takes, in
	// sectors: INT_MAX >> SECTOR_SHIFT is its bound
	// (dm-exception-store.c, dm_exception_store_set_chunk_size).
	maxChunkSize = 1 << 21
)

// geometry says where things are on a copy-on-write device.
type geometry struct {
	// chunk is the size of a chunk and size that of the device.
	chunk, size remap.Sector
}

func (g geometry) check() error {
	switch {
	case g.size < 0 || g.size > remap.MaxSectors:
		return fmt.Errorf("%w: device of %d sectors", ErrFormat, g.size)
	case g.chunk < 1 || g.chunk > maxChunkSize || g.chunk&(g.chunk-1) != 0:
		return fmt.Errorf("%w: chunks of %d sectors", ErrFormat, g.chunk)
	case g.chunks() < 2:
		return fmt.Errorf("%w: %d sectors have no room for chunks of %d", ErrTruncated, g.size, g.chunk)
	}
	return nil
}

// perArea is the number of entries of an area.
func (g geometry) perArea() uint64 { return uint64(g.chunk.Bytes()) / entrySize }

// stride is the number of chunks from one area to the next.
func (g geometry) stride() uint64 { return g.perArea() + 1 }

// chunks is the number of whole chunks on the device.
func (g geometry) chunks() uint64 { return uint64(g.size / g.chunk) }

// area is the chunk that holds the entries of area k.
func (g geometry) area(k uint64) uint64 { return 1 + k*g.stride() }

// offset is the position of a chunk, in bytes.
func (g geometry) offset(chunk uint64) int64 { return int64(chunk) * g.chunk.Bytes() }

// checkRun tells whether the kernel can have made these exceptions: the
// copies lie on the device, and there is neither the header nor an area among
// them.
func (g geometry) checkRun(r run) error {
	limit := uint64(remap.MaxSectors / g.chunk)
	switch {
	case r.n < 1 || r.old >= limit || r.n > limit-r.old:
		return fmt.Errorf("%w: %d exceptions from chunk %d", ErrFormat, r.n, r.old)
	case r.new >= g.chunks() || r.n > g.chunks()-r.new:
		return fmt.Errorf("%w: chunk %d is copied to chunk %d of %d", ErrFormat, r.old, r.new, g.chunks())
	case r.new < g.area(0) || g.inArea(r.new) == 0 || r.n > g.stride()-g.inArea(r.new):
		return fmt.Errorf("%w: chunk %d is copied to chunk %d, which holds metadata", ErrFormat, r.old, r.new)
	}
	return nil
}

// inArea is how far a chunk lies behind the area before it: 0 is the area
// itself, and stride would be the next one.
func (g geometry) inArea(chunk uint64) uint64 { return (chunk - g.area(0)) % g.stride() }
