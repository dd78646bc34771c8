package thinmeta

import (
	"errors"
	"fmt"
)

// MaxRuns bounds the memory of a map: 16 bytes a run. Consecutive virtual
// blocks in consecutive data blocks, all shared or all not, are one run.
const MaxRuns = 1 << 24

// Widths of what is packed into a run.
const (
	// virtualBits are enough for the smallest blocks of the largest device:
	// MaxSectors / minDataBlock.
	virtualBits = 47
	lowBits     = 64 - virtualBits
	lowMask     = 1<<lowBits - 1
	dataShift   = 24
	sharedBit   = 1 << (dataShift - 1)
)

// A run is virtual blocks in consecutive data blocks. Ten million of them have
// to fit into memory, so it is packed into 16 bytes: the first word is the
// virtual block above the low part of the length less one, the second word
// the data block above the shared bit and the rest of the length less one.
type run [2]uint64

func newRun(virtual, data, length uint64, shared bool) run {
	rest := length - 1
	r := run{virtual<<lowBits | rest&lowMask, data<<dataShift | rest>>lowBits}
	if shared {
		r[1] |= sharedBit
	}
	return r
}

func (r run) virtual() uint64 { return r[0] >> lowBits }
func (r run) data() uint64    { return r[1] >> dataShift }
func (r run) shared() bool    { return r[1]&sharedBit != 0 }
func (r run) length() uint64 {
	rest := (r[1]&(sharedBit-1))<<lowBits | r[0]&lowMask
	return rest + 1
}

// segmentRuns is the number of runs of a segment.
const segmentRuns = 4096

// list is a list of runs that grows without being copied.
type list struct {
	segments [][]run
	n        int
}

func (l *list) at(i int) run { return l.segments[i/segmentRuns][i%segmentRuns] }

func (l *list) last() *run { return &l.segments[(l.n-1)/segmentRuns][(l.n-1)%segmentRuns] }

// add appends a run that begins behind all others. A run that continues the
// last one makes it longer.
func (l *list) add(virtual, data, length uint64, shared bool) error {
	if l.n > 0 {
		last := l.last()
		v, d, n, s := last.virtual(), last.data(), last.length(), last.shared()
		if virtual-v < n {
			return fmt.Errorf("%w: virtual block %d is mapped twice", ErrFormat, virtual)
		}
		if virtual == v+n && data == d+n && shared == s {
			*last = newRun(v, d, n+length, s)
			return nil
		}
	}
	if l.n == MaxRuns {
		return errors.New("too many mappings")
	}
	if l.n%segmentRuns == 0 {
		l.segments = append(l.segments, make([]run, 0, segmentRuns))
	}
	end := &l.segments[len(l.segments)-1]
	*end = append(*end, newRun(virtual, data, length, shared))
	l.n++
	return nil
}

// after is the index of the first run that begins behind the virtual block.
func (l *list) after(virtual uint64) int {
	low, high := 0, l.n
	for low < high {
		middle := int(uint(low+high) / 2)
		if l.at(middle).virtual() <= virtual {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
