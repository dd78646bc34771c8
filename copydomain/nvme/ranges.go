package nvme

import (
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

const (
	// RangeSize is the length of a source range descriptor of formats 0 and 2
	// in bytes.
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

// pieces are the ranges with their places in the destination.
func (c *CopyCommand) pieces() []blocks.Piece {
	pieces := make([]blocks.Piece, 0, len(c.Ranges))
	dst := c.DstLBA
	for _, r := range c.Ranges {
		pieces = append(pieces, blocks.Piece{SrcLBA: r.SrcLBA, DstLBA: dst, Blocks: uint64(r.Blocks)})
		dst += uint64(r.Blocks)
	}
	return pieces
}

// Encode fills cmd with the wire form of the command within the namespace nsid.
// The descriptors go to the front of buf, which cmd.Data then refers to; it takes
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
	c.fill(cmd, Format0, nsid, buf[:n])
	return nil
}

// EncodeFrom is Encode for a command that copies from the namespace snsid to
// nsid: descriptor format 2. The controller has to be told before that formats 2
// and 3 are meant ([HostBehavior]).
func (c *CopyCommand) EncodeFrom(cmd *Command, snsid, nsid uint32, buf []byte) error {
	n, err := EncodeRangesFrom(buf, snsid, c.Ranges)
	if err != nil {
		return err
	}
	c.fill(cmd, Format2, nsid, buf[:n])
	return nil
}

func (c *CopyCommand) fill(cmd *Command, f Format, nsid uint32, data []byte) {
	*cmd = Command{
		Opcode: OpCopy,
		NSID:   nsid,
		CDW10:  uint32(c.DstLBA),
		CDW11:  uint32(c.DstLBA >> 32),
		CDW12:  uint32(f)<<8 | uint32(len(c.Ranges)-1), // NR counts from 0
		Data:   data,
	}
}

// DstLBA is the SDLBA field of a Copy command.
func (c *Command) DstLBA() uint64 { return uint64(c.CDW11)<<32 | uint64(c.CDW10) }

// EncodeRanges writes source range descriptors of format 0 to the front of buf
// and returns their length in bytes. It does not allocate.
// NVM Command Set Specification, figure 39.
func EncodeRanges(buf []byte, ranges []Range) (int, error) { return encodeRanges(buf, 0, ranges) }

// EncodeRangesFrom is EncodeRanges for format 2: every range lies in the namespace
// snsid. The format lets each range name another one; there are controllers that
// then read from the wrong namespace and report success (QEMU 10.0 keeps the one
// of the range before), so one list has one source.
func EncodeRangesFrom(buf []byte, snsid uint32, ranges []Range) (int, error) {
	if !namesOne(snsid) {
		return 0, opError("encode ranges", "", fmt.Errorf("%w: copy from namespace %#x", blocks.ErrInvalid, snsid))
	}
	return encodeRanges(buf, snsid, ranges)
}

// namesOne: NSID 0 is none, and FFFFFFFFh is all namespaces.
func namesOne(nsid uint32) bool { return nsid != 0 && nsid != 0xFFFFFFFF }

// encodeRanges writes formats 0 and 2, which differ in SNSID only.
func encodeRanges(buf []byte, snsid uint32, ranges []Range) (int, error) {
	if len(ranges) == 0 || len(ranges) > MaxRanges {
		return 0, opError("encode ranges", "", fmt.Errorf("%w: %d ranges", blocks.ErrInvalid, len(ranges)))
	}
	size := len(ranges) * RangeSize
	if len(buf) < size {
		return 0, opError("encode ranges", "", fmt.Errorf("%w: %d of %d bytes", blocks.ErrShort, len(buf), size))
	}
	for i, r := range ranges {
		if r.Blocks == 0 || r.Blocks > MaxRangeBlocks {
			return 0, opError("encode ranges", "", fmt.Errorf("%w: range %d has %d blocks", blocks.ErrInvalid, i, r.Blocks))
		}
		d := (*[RangeSize]byte)(buf[i*RangeSize:])
		clear(d[:])
		binary.LittleEndian.PutUint32(d[0:], snsid)
		binary.LittleEndian.PutUint64(d[8:], r.SrcLBA)
		binary.LittleEndian.PutUint16(d[16:], uint16(r.Blocks-1)) // NLB counts from 0
	}
	return size, nil
}

// DecodeRanges appends the descriptors of format 0 in b to dst. Descriptors with
// anything in a field that this package leaves zero are refused.
func DecodeRanges(dst []Range, b []byte) ([]Range, error) {
	dst, snsid, err := decodeRanges(dst, b)
	if err == nil && snsid != 0 {
		err = opError("decode ranges", "", fmt.Errorf("%w: the ranges are not plain format 0", blocks.ErrInvalid))
	}
	if err != nil {
		return nil, err
	}
	return dst, nil
}

// DecodeRangesFrom is DecodeRanges for format 2. Lists that name more than one
// source are refused.
func DecodeRangesFrom(dst []Range, b []byte) (ranges []Range, snsid uint32, err error) {
	dst, snsid, err = decodeRanges(dst, b)
	if err == nil && !namesOne(snsid) {
		err = opError("decode ranges", "", fmt.Errorf("%w: copy from namespace %#x", blocks.ErrInvalid, snsid))
	}
	if err != nil {
		return nil, 0, err
	}
	return dst, snsid, nil
}

func decodeRanges(dst []Range, b []byte) ([]Range, uint32, error) {
	if len(b) == 0 || len(b)%RangeSize != 0 || len(b) > MaxRanges*RangeSize {
		return nil, 0, opError("decode ranges", "", fmt.Errorf("%w: list of %d bytes", blocks.ErrInvalid, len(b)))
	}
	snsid := binary.LittleEndian.Uint32(b)
	for i := 0; len(b) > 0; i, b = i+1, b[RangeSize:] {
		d := (*[RangeSize]byte)(b)
		if [4]byte(d[4:8]) != [4]byte{} || [14]byte(d[18:32]) != [14]byte{} {
			return nil, 0, opError("decode ranges", "", fmt.Errorf("%w: range %d has more than a place and a length", blocks.ErrInvalid, i))
		}
		if other := binary.LittleEndian.Uint32(d[0:]); other != snsid {
			return nil, 0, opError("decode ranges", "", fmt.Errorf("%w: ranges of namespaces %d and %d", blocks.ErrInvalid, snsid, other))
		}
		dst = append(dst, Range{
			SrcLBA: binary.LittleEndian.Uint64(d[8:]),
			Blocks: uint32(binary.LittleEndian.Uint16(d[16:])) + 1,
		})
	}
	return dst, snsid, nil
}

// checkCopy asserts that a Copy command is of one of the two forms that Encode
// and EncodeFrom make. NVM Command Set Specification, figures 30 to 37.
func checkCopy(c *Command) error {
	format := formatOf(c)
	switch {
	case !namesOne(c.NSID):
		return fmt.Errorf("%w: copy to namespace %#x", blocks.ErrInvalid, c.NSID)
	case !format.sent():
		return fmt.Errorf("%w: copy with descriptors of %v", blocks.ErrNotAllowed, format)
	case c.CDW2|c.CDW3|c.CDW13|c.CDW14|c.CDW15 != 0 || c.CDW12&^0xF00 >= MaxRanges:
		return fmt.Errorf("%w: copy with fields that %v leaves zero", blocks.ErrNotAllowed, format)
	}
	n := int(c.CDW12&0xFF) + 1
	if len(c.Data) != n*format.Size() {
		return fmt.Errorf("%w: copy of %d ranges with %d bytes of descriptors", blocks.ErrInvalid, n, len(c.Data))
	}
	return checkSources(c, format)
}

// checkSources: format 0 names no source, and format 2 the same other namespace
// in every range.
func checkSources(c *Command, format Format) error {
	want := binary.LittleEndian.Uint32(c.Data)
	if (want != 0) != (format == Format2) || want == 0xFFFFFFFF || want == c.NSID {
		return fmt.Errorf("%w: %v to namespace %d from %#x", blocks.ErrNotAllowed, format, c.NSID, want)
	}
	for b := c.Data; len(b) > 0; b = b[RangeSize:] {
		if other := binary.LittleEndian.Uint32(b); other != want {
			return fmt.Errorf("%w: ranges of namespaces %d and %d in one copy", blocks.ErrNotAllowed, want, other)
		}
	}
	return nil
}
