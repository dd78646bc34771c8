package scsi

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Capacity is the size of a logical unit.
type Capacity struct {
	Blocks    uint64
	BlockSize uint32 // bytes
	Protected bool   // PROT_EN: blocks carry protection information
}

// ParseCapacity16 parses the data of READ CAPACITY(16). SBC-3, 5.16.2.
func ParseCapacity16(b []byte) (Capacity, error) {
	const op = "parse capacity"
	if len(b) < 13 {
		return Capacity{}, short(op, len(b), 13)
	}
	last := binary.BigEndian.Uint64(b)
	if last == ^uint64(0) {
		return Capacity{}, opError(op, "", fmt.Errorf("%w: last block %#x", blocks.ErrInvalid, last))
	}
	c := Capacity{Blocks: last + 1, BlockSize: binary.BigEndian.Uint32(b[8:]), Protected: b[12]&1 != 0}
	return c, c.check(op)
}

// errCapacity16 says that READ CAPACITY(10) cannot tell the capacity.
var errCapacity16 = fmt.Errorf("%w: more blocks than READ CAPACITY(10) can tell", blocks.ErrInvalid)

// ParseCapacity10 parses the data of READ CAPACITY(10). SBC-3, 5.15.2.
func ParseCapacity10(b []byte) (Capacity, error) {
	const op = "parse capacity"
	if len(b) < 8 {
		return Capacity{}, short(op, len(b), 8)
	}
	last := binary.BigEndian.Uint32(b)
	if last == ^uint32(0) {
		return Capacity{}, opError(op, "", errCapacity16)
	}
	c := Capacity{Blocks: uint64(last) + 1, BlockSize: binary.BigEndian.Uint32(b[4:])}
	return c, c.check(op)
}

// check: blocks of 512 bytes to 1 MiB, a power of two, and no more bytes than can
// be counted.
func (c Capacity) check(op string) error {
	if c.BlockSize < 512 || c.BlockSize > 1<<20 || bits.OnesCount32(c.BlockSize) != 1 {
		return opError(op, "", fmt.Errorf("%w: blocks of %d bytes", blocks.ErrInvalid, c.BlockSize))
	}
	if c.Blocks > 1<<63/uint64(c.BlockSize) {
		return opError(op, "", fmt.Errorf("%w: %d blocks of %d bytes", blocks.ErrInvalid, c.Blocks, c.BlockSize))
	}
	return nil
}
