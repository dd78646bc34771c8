package scsi

import "fmt"

// Limits of an EXTENDED COPY, in blocks and counted from 1. A zero means that the
// target does not copy, never that there is no limit.
type Limits struct {
	SegmentBlocks uint32 // in one segment, a multiple of Granularity
	CommandBlocks uint32 // in one command, at least SegmentBlocks
	Segments      uint16 // in one command
	Granularity   uint32 // every segment is a multiple of it
}

const (
	// maxSegmentBlocks is the largest number of blocks that a segment
	// descriptor can name: a 16 bit field that counts from 1.
	maxSegmentBlocks = 1<<16 - 1

	// maxSegments bounds a parameter list to a few KiB.
	maxSegments = 128
)

// limitsOf turns what a target says of itself into blocks. The length of the
// lists is shared by two descriptors of logical units and the segments.
func limitsOf(p Parameters, blockSize uint32) Limits {
	var l Limits
	granularity := max(p.Granularity/uint64(blockSize), 1)
	if granularity > maxSegmentBlocks {
		return l
	}
	l.Granularity = uint32(granularity)
	blocks := uint32(maxSegmentBlocks)
	if p.SegmentBytes != 0 {
		blocks = min(blocks, p.SegmentBytes/blockSize)
	}
	l.SegmentBlocks = blocks / l.Granularity * l.Granularity
	if p.ListBytes > 2*cscdSize {
		l.Segments = uint16(min((p.ListBytes-2*cscdSize)/segmentSize, uint32(p.Segments), maxSegments))
	}
	l.CommandBlocks = l.SegmentBlocks * uint32(l.Segments)
	return l
}

// Valid says whether a command can be made within the limits.
func (l Limits) Valid() bool {
	return l.Granularity > 0 && l.SegmentBlocks >= l.Granularity && l.CommandBlocks >= l.Granularity && l.Segments > 0
}

// Min is the stricter of both in every field. Granularities are powers of two, so
// that the larger one is a multiple of the other.
func (l Limits) Min(o Limits) Limits {
	m := Limits{
		SegmentBlocks: min(l.SegmentBlocks, o.SegmentBlocks),
		CommandBlocks: min(l.CommandBlocks, o.CommandBlocks),
		Segments:      min(l.Segments, o.Segments),
		Granularity:   max(l.Granularity, o.Granularity),
	}
	return m.round()
}

// Cap limits a command to that many bytes, but never below the granularity. Zero
// bytes: no further limit.
func (l Limits) Cap(bytes uint64, blockSize uint32) Limits {
	if bytes == 0 || blockSize == 0 || !l.Valid() {
		return l
	}
	l.CommandBlocks = uint32(min(uint64(l.CommandBlocks), max(bytes/uint64(blockSize), uint64(l.Granularity))))
	return l.round()
}

// Half is the next smaller try for a target that refuses commands within the
// limits it reports. ok is false when there is nothing left to halve.
func (l Limits) Half() (_ Limits, ok bool) {
	h := Limits{
		SegmentBlocks: max(l.SegmentBlocks/2, l.Granularity),
		CommandBlocks: max(l.CommandBlocks/2, l.Granularity),
		Segments:      max(l.Segments/2, 1),
		Granularity:   l.Granularity,
	}
	h = h.round()
	return h, h != l
}

// round makes whole granules of what is not.
func (l Limits) round() Limits {
	if g := l.Granularity; g > 0 {
		l.CommandBlocks = l.CommandBlocks / g * g
		l.SegmentBlocks = min(l.SegmentBlocks, l.CommandBlocks) / g * g
	}
	return l
}

func (l Limits) String() string {
	s := fmt.Sprintf("%d blocks a segment, %d blocks in %d segments a command", l.SegmentBlocks, l.CommandBlocks, l.Segments)
	if l.Granularity > 1 {
		s += fmt.Sprintf(", granules of %d blocks", l.Granularity)
	}
	return s
}
