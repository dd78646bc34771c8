package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Form of an EXTENDED COPY: the length of its list identifier in bytes decides.
// The value is the service action.
type Form uint8

// Forms.
const (
	LID1 Form = saExtendedCopyLID1
	LID4 Form = saExtendedCopyLID4
)

// Lengths in bytes. SPC-4, 6.4.
const (
	headerLID1  = 16
	headerLID4  = 48
	cscdSize    = 32
	segmentSize = 28
)

// LIST ID USAGE. SPC-4, table 133.
const (
	usageDiscard = 2 // held data are discarded when the command has ended
	usageNone    = 3 // the list identifier is zero and means nothing
)

// Unit names a logical unit in a parameter list (a CSCD descriptor).
type Unit struct {
	Designator Designator
	BlockSize  uint32 // bytes
}

// Segment copies blocks from one of the units of a list to another.
type Segment struct {
	Src, Dst uint16 // places in the list of units
	blocks.Piece
}

// List is the parameter list of an EXTENDED COPY.
type List struct {
	Form     Form
	ListID   uint32 // 0: LIST ID USAGE 3
	Units    []Unit
	Segments []Segment
}

// Size is the length of the list on the wire in bytes.
func (l *List) Size() int {
	return l.header() + cscdSize*len(l.Units) + segmentSize*len(l.Segments)
}

func (l *List) header() int {
	if l.Form == LID4 {
		return headerLID4
	}
	return headerLID1
}

// valid: what Encode takes and what may be sent.
func (l *List) valid() error {
	if len(l.Units) < 1 || len(l.Units) > 2 || len(l.Segments) < 1 || len(l.Segments) > maxSegments {
		return fmt.Errorf("%w: %d units and %d segments", blocks.ErrInvalid, len(l.Units), len(l.Segments))
	}
	if l.Form > LID4 || l.Form == LID1 && l.ListID > 0xFF {
		return fmt.Errorf("%w: list identifier %#x in form %d", blocks.ErrInvalid, l.ListID, l.Form)
	}
	for i, u := range l.Units {
		if u.Designator.rank() == 0 || u.BlockSize == 0 || u.BlockSize >= 1<<24 {
			return fmt.Errorf("%w: unit %d is %v with blocks of %d bytes", blocks.ErrInvalid, i, u.Designator, u.BlockSize)
		}
	}
	for i, s := range l.Segments {
		if !s.Valid() || s.Blocks > maxSegmentBlocks || int(max(s.Src, s.Dst)) >= len(l.Units) {
			return fmt.Errorf("%w: segment %d is %v from unit %d to %d", blocks.ErrInvalid, i, s.Piece, s.Src, s.Dst)
		}
	}
	return nil
}

// Encode writes the list to the front of buf and returns its length in bytes. It
// does not allocate.
//
// What is not named here stays zero: sequential striping, the priority, inline
// data, IMMED (the status comes when the copy has ended), DC (blocks are counted
// in those of the source, which are as long as those of the destination).
func (l *List) Encode(buf []byte) (int, error) {
	const op = "encode parameter list"
	if err := l.valid(); err != nil {
		return 0, opError(op, "", err)
	}
	size := l.Size()
	if len(buf) < size {
		return 0, short(op, len(buf), size)
	}
	b := buf[:size]
	clear(b)
	usage := byte(usageDiscard)
	if l.ListID == 0 {
		usage = usageNone
	}
	if l.Form == LID4 {
		b[0] = 1 // parameter list format
		binary.BigEndian.PutUint16(b[2:], 0x20)
		b[16] = 0xFF // header CSCD descriptor type code
		binary.BigEndian.PutUint32(b[20:], l.ListID)
		binary.BigEndian.PutUint16(b[42:], uint16(cscdSize*len(l.Units)))
		binary.BigEndian.PutUint16(b[44:], uint16(segmentSize*len(l.Segments)))
	} else {
		b[0] = byte(l.ListID)
		binary.BigEndian.PutUint16(b[2:], uint16(cscdSize*len(l.Units)))
		binary.BigEndian.PutUint32(b[8:], uint32(segmentSize*len(l.Segments)))
	}
	b[1] = usage << 3
	b = b[l.header():]
	for i := range l.Units {
		l.Units[i].encode((*[cscdSize]byte)(b))
		b = b[cscdSize:]
	}
	for i := range l.Segments {
		l.Segments[i].encode((*[segmentSize]byte)(b))
		b = b[segmentSize:]
	}
	return size, nil
}

// encode writes an identification descriptor: SPC-4, 6.4.5.3. Bytes 4 to 7 and
// the name are those of page 83h without the protocol.
func (u *Unit) encode(b *[cscdSize]byte) {
	d := &u.Designator
	b[0] = cscdIdentification
	b[1] = deviceTypeDisk
	b[4] = d.CodeSet
	b[5] = byte(d.Association)<<4 | byte(d.Type)
	b[7] = byte(len(d.Value))
	copy(b[8:28], d.Value)
	b[29] = byte(u.BlockSize >> 16)
	binary.BigEndian.PutUint16(b[30:], uint16(u.BlockSize))
}

// encode writes a segment from block device to block device: SPC-4, 6.4.6.4.
func (s *Segment) encode(b *[segmentSize]byte) {
	b[0] = segmentBlockToBlock
	binary.BigEndian.PutUint16(b[2:], segmentSize-4)
	binary.BigEndian.PutUint16(b[4:], s.Src)
	binary.BigEndian.PutUint16(b[6:], s.Dst)
	binary.BigEndian.PutUint16(b[10:], uint16(s.Blocks))
	binary.BigEndian.PutUint64(b[12:], s.SrcLBA)
	binary.BigEndian.PutUint64(b[20:], s.DstLBA)
}

// DecodeList is the inverse of Encode. A list with anything in it that Encode does
// not write, or of another length than it says, is refused.
func DecodeList(form Form, b []byte) (*List, error) {
	const op = "decode parameter list"
	l := &List{Form: form}
	head := l.header()
	if len(b) < head {
		return nil, short(op, len(b), head)
	}
	var units, segments int
	if form == LID4 {
		l.ListID = binary.BigEndian.Uint32(b[20:])
		units, segments = int(binary.BigEndian.Uint16(b[42:])), int(binary.BigEndian.Uint16(b[44:]))
	} else {
		l.ListID = uint32(b[0])
		units, segments = int(binary.BigEndian.Uint16(b[2:])), int(binary.BigEndian.Uint32(b[8:]))
	}
	if units%cscdSize != 0 || segments%segmentSize != 0 || len(b) != head+units+segments {
		return nil, opError(op, "", fmt.Errorf("%w: lists of %d and %d bytes in %d", blocks.ErrInvalid, units, segments, len(b)))
	}
	for at := head; at < head+units; at += cscdSize {
		l.Units = append(l.Units, decodeUnit((*[cscdSize]byte)(b[at:])))
	}
	for at := head + units; at < len(b); at += segmentSize {
		l.Segments = append(l.Segments, decodeSegment((*[segmentSize]byte)(b[at:])))
	}
	again := make([]byte, len(b))
	if _, err := l.Encode(again); err != nil {
		return nil, opError(op, "", err)
	}
	if !bytes.Equal(b, again) {
		return nil, opError(op, "", fmt.Errorf("%w: fields that are left zero here", blocks.ErrInvalid))
	}
	return l, nil
}

func decodeUnit(b *[cscdSize]byte) Unit {
	return Unit{
		Designator: Designator{
			CodeSet:     b[4] & 0xF,
			Association: Association(b[5] >> 4 & 0x3),
			Type:        DesignatorType(b[5] & 0xF),
			Value:       bytes.Clone(b[8 : 8+min(int(b[7]), maxDesignator)]),
		},
		BlockSize: uint32(b[29])<<16 | uint32(binary.BigEndian.Uint16(b[30:])),
	}
}

func decodeSegment(b *[segmentSize]byte) Segment {
	return Segment{
		Src: binary.BigEndian.Uint16(b[4:]),
		Dst: binary.BigEndian.Uint16(b[6:]),
		Piece: blocks.Piece{
			SrcLBA: binary.BigEndian.Uint64(b[12:]),
			DstLBA: binary.BigEndian.Uint64(b[20:]),
			Blocks: uint64(binary.BigEndian.Uint16(b[10:])),
		},
	}
}
