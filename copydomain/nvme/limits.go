package nvme

import "fmt"

// Limits of a Copy command, all counted from 1. A zero means that the namespace
// does not copy, never that there is no limit.
type Limits struct {
	RangeBlocks   uint32 // MSSRL: blocks in one range
	CommandBlocks uint32 // MCL: blocks in one command
	Ranges        uint16 // MSRC+1: ranges in one command
}

// Valid says whether a command can be made within the limits.
func (l Limits) Valid() bool {
	return l.RangeBlocks > 0 && l.CommandBlocks > 0 && l.Ranges > 0
}

// Min is the stricter of both in every field.
func (l Limits) Min(o Limits) Limits {
	return Limits{
		RangeBlocks:   min(l.RangeBlocks, o.RangeBlocks),
		CommandBlocks: min(l.CommandBlocks, o.CommandBlocks),
		Ranges:        min(l.Ranges, o.Ranges),
	}
}

// Cap limits a command to that many bytes, but never below one block. Zero
// bytes: no further limit.
func (l Limits) Cap(bytes uint64, blockSize uint32) Limits {
	if bytes == 0 || blockSize == 0 || !l.Valid() {
		return l
	}
	blocks := max(bytes/uint64(blockSize), 1)
	l.CommandBlocks = uint32(min(uint64(l.CommandBlocks), blocks))
	return l
}

// Half is the next smaller try for a device that refuses commands within the
// limits it reports. ok is false when there is nothing left to halve.
func (l Limits) Half() (_ Limits, ok bool) {
	if l.RangeBlocks <= 1 && l.CommandBlocks <= 1 && l.Ranges <= 1 {
		return l, false
	}
	return Limits{
		RangeBlocks:   max(l.RangeBlocks/2, 1),
		CommandBlocks: max(l.CommandBlocks/2, 1),
		Ranges:        max(l.Ranges/2, 1),
	}, true
}

func (l Limits) String() string {
	return fmt.Sprintf("mssrl %d, mcl %d, %d ranges", l.RangeBlocks, l.CommandBlocks, l.Ranges)
}
