package exstore

import (
	"math"

	"github.com/dmcopy/dmcopy/remap"
)

// Store is the map from chunks of the snapshot to chunks of the
// copy-on-write device, at one moment.
type Store struct {
	geometry
	// runs are sorted by their old chunks.
	runs  []run
	count uint64
	// settled is the number of areas that need not be read again. An area
	// is settled once it was read after it was known to be full: until then
	// the kernel may have been writing it while it was read.
	settled uint64
}

// ChunkSize is the size of a chunk. It is that of the table only if the table
// is right: the store has the last word.
func (s *Store) ChunkSize() remap.Sector { return s.chunk }

// Size is the size of the copy-on-write device that the store was read with.
func (s *Store) Size() remap.Sector { return s.size }

// Len is the number of exceptions.
func (s *Store) Len() uint64 { return s.count }

// Find tells where a chunk of the snapshot is: at newChunk of the
// copy-on-write device if it is excepted, else at the same place of the
// origin. The same is true of run chunks from this one on: each lies behind
// the one before it.
func (s *Store) Find(chunk uint64) (newChunk, run uint64, excepted bool) {
	i := s.after(chunk)
	if i > 0 {
		if r := s.runs[i-1]; chunk-r.old < r.n {
			skip := chunk - r.old
			return r.new + skip, r.n - skip, true
		}
	}
	if i < len(s.runs) {
		return 0, s.runs[i].old - chunk, false
	}
	return 0, math.MaxUint64 - chunk, false
}

// after is the index of the first run that begins behind the chunk.
func (s *Store) after(chunk uint64) int {
	low, high := 0, len(s.runs)
	for low < high {
		middle := int(uint(low+high) / 2)
		if s.runs[middle].old <= chunk {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
