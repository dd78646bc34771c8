package scsi

import (
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// CopyState is how far a copy is.
type CopyState uint8

// States.
const (
	CopyInProgress CopyState = iota
	CopyDone
	CopyFailed
)

// CopyStatus is what a copy manager remembers of an EXTENDED COPY with a list
// identifier.
type CopyStatus struct {
	State    CopyState
	Segments uint16 // processed, the one that failed included
	Sense    []byte // LID4 only
}

// ParseCopyStatusLID1 parses the data of RECEIVE COPY STATUS(LID1). SPC-4, 6.23.
func ParseCopyStatusLID1(b []byte) (CopyStatus, error) {
	const op = "parse copy status"
	if len(b) < 12 {
		return CopyStatus{}, short(op, len(b), 12)
	}
	if n := binary.BigEndian.Uint32(b); n < 8 {
		return CopyStatus{}, short(op, int(n)+4, 12)
	}
	code := b[4] & 0x7F
	if code > uint8(CopyFailed) {
		return CopyStatus{}, opError(op, "", fmt.Errorf("%w: copy status %02xh", blocks.ErrInvalid, code))
	}
	return CopyStatus{State: CopyState(code), Segments: binary.BigEndian.Uint16(b[5:])}, nil
}

// statesLID4 are the values of COPY OPERATION STATUS (SPC-4, table 247). The ones
// that say that some of it, or not all of it, was done are failures here.
var statesLID4 = map[uint8]CopyState{
	0x01: CopyDone, 0x02: CopyFailed, 0x03: CopyFailed, 0x04: CopyFailed,
	0x10: CopyInProgress, 0x11: CopyInProgress, 0x12: CopyInProgress, 0x60: CopyFailed,
}

// ParseCopyStatusLID4 parses the data of RECEIVE COPY STATUS(LID4). SPC-4, 6.24.
func ParseCopyStatusLID4(b []byte) (CopyStatus, error) {
	const op = "parse copy status"
	if len(b) < 32 {
		return CopyStatus{}, short(op, len(b), 32)
	}
	state, ok := statesLID4[b[5]&0x7F]
	if !ok {
		return CopyStatus{}, opError(op, "", fmt.Errorf("%w: copy status %02xh", blocks.ErrInvalid, b[5]&0x7F))
	}
	field, sense := int(b[13]), int(b[14])
	if sense > field || 32+field > len(b) {
		return CopyStatus{}, opError(op, "", fmt.Errorf("%w: %d bytes of sense data in %d", blocks.ErrShort, sense, len(b)))
	}
	if n := uint64(binary.BigEndian.Uint32(b)) + 4; n < uint64(32+field) {
		return CopyStatus{}, short(op, int(n), 32+field)
	}
	return CopyStatus{
		State:    state,
		Segments: binary.BigEndian.Uint16(b[24:]),
		Sense:    append([]byte(nil), b[32:32+sense]...),
	}, nil
}
