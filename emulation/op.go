package emulation

// sectorSize is the unit of the kernel's sector numbers, whatever the block size
// of a device (include/linux/blk_types.h, SECTOR_SIZE).
const sectorSize = 512

// end is one of the two devices of a job, with what the hot path asks for.
type end struct {
	Device
	block int64 // BlockSize
	unit  int64 // WriteUnit
	size  int64 // Size
	start Start // how transfers are left to the kernel, or nil
}

func newEnd(d Device) (end, error) {
	e := end{Device: d, block: int64(d.BlockSize()), unit: int64(d.WriteUnit()), size: d.Size(), start: Async(d)}
	if e.block <= 0 || e.block&(e.block-1) != 0 {
		return e, &Error{"check", d.Name(), 0, e.block, ErrBlockSize}
	}
	if e.unit != e.block && e.unit != 1 {
		return e, &Error{"check", d.Name(), 0, e.unit, ErrBlockSize}
	}
	return e, nil
}

// down and up round an offset to a block.
func (e *end) down(off int64) int64 { return off &^ (e.block - 1) }
func (e *end) up(off int64) int64   { return e.down(off + e.block - 1) }

// check refuses a range that is not on the device.
func (e *end) check(off, n int64) error {
	if off < 0 || n < 0 || off > e.size-n {
		return &Error{"check", e.Name(), off, n, ErrRange}
	}
	return nil
}

// skip returns op without its first n bytes.
func (op Op) skip(n int64) Op {
	op.Dst += n
	op.Len -= n
	if !op.Zero {
		op.Src += n
	}
	return op
}

// first returns the first n bytes of op.
func (op Op) first(n int64) Op {
	op.Len = n
	return op
}

// cut splits op where its destination first reaches a multiple of size, so that
// all pieces but the outer ones are whole stripes of whatever is below.
func (op Op) cut(size int64) (head, tail Op) {
	n := min(op.Len, size-op.Dst%size)
	return op.first(n), op.skip(n)
}

// cutLast splits op where its destination last passes a multiple of size.
func (op Op) cutLast(size int64) (head, tail Op) {
	n := op.Len - min(op.Len, (op.Dst+op.Len-1)%size+1)
	return op.first(n), op.skip(n)
}

// precedes says whether next goes on exactly where op ends, on both sides.
func (op Op) precedes(next Op) bool {
	return op.Len > 0 && op.Zero == next.Zero && op.Dst+op.Len == next.Dst &&
		(op.Zero || op.Src+op.Len == next.Src)
}

// overlaps says whether source and destination share bytes, on one device.
func (op Op) overlaps() bool {
	return !op.Zero && op.Src < op.Dst+op.Len && op.Dst < op.Src+op.Len
}
