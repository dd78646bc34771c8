package scsi

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Lengths in bytes, and the places in parameter lists where the range descriptors
// begin. SBC-3, 5.12.2 and 5.49.2.
const (
	rangeSize       = 16
	populateHead    = 16
	writeHead       = 536
	writeTokenAt    = 16
	writeOffsetAt   = 8
	maxRanges       = 1024
	populateTimeout = 4
)

// deleteToken is DEL_TKN of WRITE USING TOKEN. IMMED, bit 0, is never set: the
// status comes when the operation has ended.
const deleteToken = 1 << 1

// Range is a run of blocks of a logical unit. SBC-3, 5.12.3.
type Range struct {
	LBA    uint64
	Blocks uint32
}

func (r Range) valid() bool { return r.Blocks > 0 && r.LBA <= math.MaxUint64-uint64(r.Blocks) }

// PopulateList is the parameter list of POPULATE TOKEN. The target chooses the type
// of the token.
type PopulateList struct {
	// Inactivity is for how many seconds the token is kept while nobody uses it;
	// 0: as the target likes.
	Inactivity uint32
	Ranges     []Range
}

// WriteList is the parameter list of WRITE USING TOKEN.
type WriteList struct {
	// Offset is the number of blocks at the beginning of what the token stands for
	// that are passed over.
	Offset uint64
	Token  *Token
	Delete bool // the token is not needed any more
	Ranges []Range
}

// Size is the length of the list on the wire in bytes.
func (l *PopulateList) Size() int { return populateHead + rangeSize*len(l.Ranges) }

// Size is the length of the list on the wire in bytes.
func (l *WriteList) Size() int { return writeHead + rangeSize*len(l.Ranges) }

// Encode writes the list to the front of buf and returns its length in bytes.
func (l *PopulateList) Encode(buf []byte) (int, error) {
	const op = "encode POPULATE TOKEN"
	b, err := encodeRanges(op, buf, populateHead, l.Ranges)
	if err != nil {
		return 0, err
	}
	binary.BigEndian.PutUint32(b[populateTimeout:], l.Inactivity)
	return len(b), nil
}

// Encode writes the list to the front of buf and returns its length in bytes. What
// is in buf then is as secret as the token.
func (l *WriteList) Encode(buf []byte) (int, error) {
	const op = "encode WRITE USING TOKEN"
	if l.Token == nil {
		return 0, opError(op, "", fmt.Errorf("%w: no token", blocks.ErrInvalid))
	}
	b, err := encodeRanges(op, buf, writeHead, l.Ranges)
	if err != nil {
		return 0, err
	}
	if l.Delete {
		b[2] = deleteToken
	}
	binary.BigEndian.PutUint64(b[writeOffsetAt:], l.Offset)
	copy(b[writeTokenAt:], l.Token.secret[:])
	return len(b), nil
}

// encodeRanges begins a list whose ranges follow a head, which ends with their
// length. It is zero otherwise, but for the length of all of it in front.
func encodeRanges(op string, buf []byte, head int, ranges []Range) ([]byte, error) {
	if len(ranges) == 0 || len(ranges) > maxRanges {
		return nil, opError(op, "", fmt.Errorf("%w: %d ranges", blocks.ErrInvalid, len(ranges)))
	}
	size := head + rangeSize*len(ranges)
	if len(buf) < size {
		return nil, short(op, len(buf), size)
	}
	b := buf[:size]
	clear(b)
	binary.BigEndian.PutUint16(b, uint16(size-2))
	binary.BigEndian.PutUint16(b[head-2:], uint16(size-head))
	for i, r := range ranges {
		if !r.valid() {
			return nil, opError(op, "", fmt.Errorf("%w: range %d is %+v", blocks.ErrInvalid, i, r))
		}
		at := b[head+rangeSize*i:]
		binary.BigEndian.PutUint64(at, r.LBA)
		binary.BigEndian.PutUint32(at[8:], r.Blocks)
	}
	return b, nil
}

// DecodePopulateList is the inverse of Encode. A list with anything in it that
// Encode does not write, or of another length than it says, is refused.
func DecodePopulateList(b []byte) (*PopulateList, error) {
	const op = "decode POPULATE TOKEN"
	ranges, err := decodeRanges(op, b, populateHead)
	if err != nil {
		return nil, err
	}
	if !zero(b[2:populateTimeout]) || !zero(b[populateTimeout+4:populateHead-2]) {
		return nil, opError(op, "", errNotOurs)
	}
	return &PopulateList{Inactivity: binary.BigEndian.Uint32(b[populateTimeout:]), Ranges: ranges}, nil
}

// DecodeWriteList is the inverse of Encode, as [DecodePopulateList] is.
func DecodeWriteList(b []byte) (*WriteList, error) {
	const op = "decode WRITE USING TOKEN"
	ranges, err := decodeRanges(op, b, writeHead)
	if err != nil {
		return nil, err
	}
	if b[2]&^deleteToken != 0 || !zero(b[3:writeOffsetAt]) || !zero(b[writeTokenAt+tokenSize:writeHead-2]) {
		return nil, opError(op, "", errNotOurs)
	}
	return &WriteList{
		Offset: binary.BigEndian.Uint64(b[writeOffsetAt:]),
		Token:  &Token{[tokenSize]byte(b[writeTokenAt:])},
		Delete: b[2] != 0,
		Ranges: ranges,
	}, nil
}

var errNotOurs = fmt.Errorf("%w: fields that are left zero here", blocks.ErrInvalid)

func decodeRanges(op string, b []byte, head int) ([]Range, error) {
	if len(b) < head+rangeSize {
		return nil, short(op, len(b), head+rangeSize)
	}
	whole, length := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[head-2:]))
	if whole != len(b)-2 || length != len(b)-head || length%rangeSize != 0 || length > maxRanges*rangeSize {
		return nil, opError(op, "", fmt.Errorf("%w: lengths %d and %d in %d bytes", blocks.ErrInvalid, whole, length, len(b)))
	}
	ranges := make([]Range, 0, length/rangeSize)
	for at := b[head:]; len(at) > 0; at = at[rangeSize:] {
		r := Range{LBA: binary.BigEndian.Uint64(at), Blocks: binary.BigEndian.Uint32(at[8:])}
		if !r.valid() || !zero(at[12:rangeSize]) {
			return nil, opError(op, "", fmt.Errorf("%w: range %d is %+v", blocks.ErrInvalid, len(ranges), r))
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}
