package scsi

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// OperationState is how far a token copy is.
type OperationState uint8

// States.
const (
	OperationRunning    OperationState = iota
	OperationDone                      // as far as Operation.Blocks says
	OperationFailed                    // Operation.Sense may say why
	OperationTerminated                // somebody took it back
)

// Operation is what a target remembers of POPULATE TOKEN or WRITE USING TOKEN.
type Operation struct {
	Action uint8 // the service action of the command
	State  OperationState
	// Delay after which it is worth to ask again, 0 if not told.
	Delay  time.Duration
	Blocks uint64 // read into the token, or written; from the beginning
	Status Status
	Sense  []byte
	Token  *Token // nil: there is none, or not yet
}

// operationStates are the values of COPY OPERATION STATUS (SPC-4, table 247). Those
// that say that not all was done are no failures here: the count tells.
var operationStates = map[uint8]OperationState{
	0x01: OperationDone, 0x02: OperationFailed, 0x03: OperationDone, 0x04: OperationDone,
	0x10: OperationRunning, 0x11: OperationRunning, 0x12: OperationRunning, 0x60: OperationTerminated,
}

// Places in the data of RECEIVE ROD TOKEN INFORMATION. SPC-4, 6.26.
const (
	operationHead   = 32
	unitsBlocks     = 0xF1       // TRANSFER COUNT UNITS: logical blocks
	unitsLargest    = 6          // EiB
	delayUnknown    = 0xFFFFFFFE // and above
	tokenDescriptor = 2 + tokenSize
)

// ParseOperation parses the data of RECEIVE ROD TOKEN INFORMATION about an operation
// of a unit with blocks of blockSize bytes. Blocks that were not copied as a whole do
// not count. The token is a copy: wiping b is the business of the caller.
func ParseOperation(b []byte, blockSize uint32) (Operation, error) {
	const op = "parse token information"
	if len(b) < operationHead {
		return Operation{}, short(op, len(b), operationHead)
	}
	// AVAILABLE DATA counts what follows it.
	available := uint64(binary.BigEndian.Uint32(b)) + 4
	if available < operationHead || available > uint64(len(b)) {
		return Operation{}, short(op, len(b), int(min(available, math.MaxInt32)))
	}
	b = b[:available]
	state, ok := operationStates[b[5]&0x7F]
	if !ok {
		return Operation{}, opError(op, "", fmt.Errorf("%w: copy operation status %02xh", blocks.ErrInvalid, b[5]&0x7F))
	}
	field, sense := int(b[13]), int(b[14])
	if sense > field || operationHead+field > len(b) {
		return Operation{}, opError(op, "", fmt.Errorf("%w: %d bytes of sense data in %d", blocks.ErrShort, sense, len(b)))
	}
	count, err := transferred(b[15], binary.BigEndian.Uint64(b[16:]), blockSize)
	if err != nil {
		return Operation{}, opError(op, "", err)
	}
	o := Operation{
		Action: b[4] & serviceActionMask, State: state, Blocks: count,
		Status: Status(b[12]), Sense: append([]byte(nil), b[operationHead:operationHead+sense]...),
	}
	if delay := binary.BigEndian.Uint32(b[8:]); delay < delayUnknown {
		o.Delay = time.Duration(delay) * time.Millisecond
	}
	o.Token, err = parseToken(b[operationHead+field:])
	return o, opError(op, "", err)
}

// transferred turns a transfer count into blocks. SPC-4, table 138.
func transferred(units uint8, count uint64, blockSize uint32) (uint64, error) {
	if units == unitsBlocks {
		return count, nil
	}
	if units > unitsLargest || blockSize == 0 {
		return 0, fmt.Errorf("%w: transfer count in units of %02xh", blocks.ErrInvalid, units)
	}
	high, bytes := bits.Mul64(count, 1<<(10*units))
	if high != 0 {
		return 0, fmt.Errorf("%w: transfer count %d in units of 2^%d bytes", blocks.ErrInvalid, count, 10*units)
	}
	return bytes / uint64(blockSize), nil
}

// parseToken parses the ROD token descriptors: their length, and no or one token
// with two bytes of its number before it.
func parseToken(b []byte) (*Token, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: %d bytes of token descriptors", blocks.ErrShort, len(b))
	}
	switch n := binary.BigEndian.Uint32(b); {
	case n == 0:
		return nil, nil
	case n != tokenDescriptor:
		return nil, fmt.Errorf("%w: token descriptors of %d bytes", blocks.ErrInvalid, n)
	case len(b) < 4+tokenDescriptor:
		return nil, fmt.Errorf("%w: %d bytes of token descriptors", blocks.ErrShort, len(b))
	}
	return &Token{[tokenSize]byte(b[6:])}, nil
}
