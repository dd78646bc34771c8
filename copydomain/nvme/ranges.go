package nvme

import (
	"encoding/binary"
	"fmt"
)

const (
	// RangeSize is the length of a source range descriptor of format 0 in bytes.
	RangeSize = 32

	// MaxRanges is the largest number of ranges a Copy command can name: NR is
	// an 8 bit field that counts from 0.
	MaxRanges = 256

	// MaxRangeBlocks is the largest number of blocks a descriptor can name: NLB
	// is a 16 bit field that counts from 0. MSSRL, a 16 bit field that counts
	// from 1, keeps real commands one block below.
	MaxRangeBlocks = 1 << 16
)

// Range is one source range of a Copy command, in logical blocks.
type Range struct {
	SrcLBA uint64
	Blocks uint32 // 1 … MaxRangeBlocks
}

// CopyCommand copies its ranges, one after the other, to DstLBA and onwards.
type CopyCommand struct {
	DstLBA uint64
	Ranges []Range
}

// Blocks is the sum over all ranges.
func (c *CopyCommand) Blocks() uint64 {
	var n uint64
	for _, r := range c.Ranges {
		n += uint64(r.Blocks)
	}
	return n
}

// piece returns range i with its place in the destination, which begins skip
// blocks behind DstLBA.
func (c *CopyCommand) piece(i int, skip uint64) Piece {
	r := c.Ranges[i]
	return Piece{SrcLBA: r.SrcLBA, DstLBA: c.DstLBA + skip, Blocks: uint64(r.Blocks)}
}

// Encode fills cmd with the wire form of the command for the namespace nsid. The
// descriptors go to the front of buf, which cmd.Data then refers to; it takes
// RangeSize bytes a range. Encode does not allocate.
//
// Everything but SDLBA and NR stays zero: descriptor format 0, no protection
// information, no directive, no FUA (a flush follows anyway, and FUA has no
// ordering effect on what was written before).
func (c *CopyCommand) Encode(cmd *Command, nsid uint32, buf []byte) error {
	n, err := EncodeRanges(buf, c.Ranges)
	if err != nil {
		return err
	}
	*cmd = Command{
		Opcode: OpCopy,
		NSID:   nsid,
		CDW10:  uint32(c.DstLBA),
		CDW11:  uint32(c.DstLBA >> 32),
		CDW12:  uint32(len(c.Ranges) - 1), // NR counts from 0
		Data:   buf[:n],
	}
	return nil
}

// DstLBA is the SDLBA field of a Copy command.
func (c *Command) DstLBA() uint64 { return uint64(c.CDW11)<<32 | uint64(c.CDW10) }

// EncodeRanges writes source range descriptors of format 0 to the front of buf
// and returns their length in bytes. It does not allocate.
// NVM Command Set Specification, figure 39.
func EncodeRanges(buf []byte, ranges []Range) (int, error) {
	if len(ranges) == 0 || len(ranges) > MaxRanges {
		return 0, opError("encode ranges", "", fmt.Errorf("%w: %d ranges", ErrInvalid, len(ranges)))
	}
	size := len(ranges) * RangeSize
	if len(buf) < size {
		return 0, opError("encode ranges", "", fmt.Errorf("%w: %d of %d bytes", ErrShort, len(buf), size))
	}
	for i, r := range ranges {
		if r.Blocks == 0 || r.Blocks > MaxRangeBlocks {
			return 0, opError("encode ranges", "", fmt.Errorf("%w: range %d has %d blocks", ErrInvalid, i, r.Blocks))
		}
		d := (*[RangeSize]byte)(buf[i*RangeSize:])
		clear(d[:])
		binary.LittleEndian.PutUint64(d[8:], r.SrcLBA)
		binary.LittleEndian.PutUint16(d[16:], uint16(r.Blocks-1)) // NLB counts from 0
	}
	return size, nil
}

// DecodeRanges appends the descriptors of format 0 in b to dst. Descriptors with
// anything in a field that this package leaves zero are refused.
func DecodeRanges(dst []Range, b []byte) ([]Range, error) {
	if len(b) == 0 || len(b)%RangeSize != 0 || len(b) > MaxRanges*RangeSize {
		return nil, opError("decode ranges", "", fmt.Errorf("%w: list of %d bytes", ErrInvalid, len(b)))
	}
	for i := 0; len(b) > 0; i, b = i+1, b[RangeSize:] {
		d := (*[RangeSize]byte)(b)
		if [8]byte(d[0:8]) != [8]byte{} || [14]byte(d[18:32]) != [14]byte{} {
			return nil, opError("decode ranges", "", fmt.Errorf("%w: range %d is not plain format 0", ErrInvalid, i))
		}
		dst = append(dst, Range{
			SrcLBA: binary.LittleEndian.Uint64(d[8:]),
			Blocks: uint32(binary.LittleEndian.Uint16(d[16:])) + 1,
		})
	}
	return dst, nil
}

// checkCopy asserts that a Copy command is of the one form that Encode makes.
// NVM Command Set Specification, figures 30 to 37.
func checkCopy(c *Command) error {
	if c.NSID == 0 || c.NSID == 0xFFFFFFFF {
		return fmt.Errorf("%w: copy to namespace %#x", ErrInvalid, c.NSID)
	}
	if c.CDW2|c.CDW3|c.CDW13|c.CDW14|c.CDW15 != 0 || c.CDW12 >= MaxRanges {
		return fmt.Errorf("%w: copy with fields that format 0 leaves zero", ErrNotAllowed)
	}
	if len(c.Data) != (int(c.CDW12)+1)*RangeSize {
		return fmt.Errorf("%w: copy of %d ranges with %d bytes of descriptors", ErrInvalid, c.CDW12+1, len(c.Data))
	}
	return nil
}
