package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// SenseKey is the kind of an error. SPC-4, table 48.
type SenseKey uint8

// Sense keys.
const (
	NoSense        SenseKey = 0x0
	RecoveredError SenseKey = 0x1
	NotReady       SenseKey = 0x2
	MediumError    SenseKey = 0x3
	HardwareError  SenseKey = 0x4
	IllegalRequest SenseKey = 0x5
	UnitAttention  SenseKey = 0x6
	DataProtect    SenseKey = 0x7
	CopyAborted    SenseKey = 0xA
	AbortedCommand SenseKey = 0xB
)

// SenseCode says what happened.
type SenseCode struct {
	Key  SenseKey
	ASC  uint8
	ASCQ uint8
}

func (c SenseCode) String() string {
	return fmt.Sprintf("sense %X/%02X/%02X", uint8(c.Key), c.ASC, c.ASCQ)
}

// Sense is decoded sense data.
type Sense struct {
	SenseCode
	// Deferred: it is about an earlier command, and this one was not
	// processed. SPC-4, 4.5.5.
	Deferred bool
	// Segment is the segment at which a copy was aborted, -1 if not told.
	Segment int
	// Forwarded is what the logical units of a copy answered to the copy
	// manager, as far as it says so.
	Forwarded []Forwarded
}

// Forwarded is an answer that the copy manager got.
type Forwarded struct {
	Status Status
	Sense  []byte
}

// Response codes, byte 0 bits 6:0. SPC-4, 4.5.1.
const (
	senseFixed              = 0x70
	senseFixedDeferred      = 0x71
	senseDescriptor         = 0x72
	senseDescriptorDeferred = 0x73
)

// ParseSense decodes sense data of either format. SPC-4, 4.5.
func ParseSense(b []byte) (Sense, error) {
	const op = "parse sense"
	if len(b) < 1 {
		return Sense{}, short(op, 0, 1)
	}
	switch code := b[0] & 0x7F; code {
	case senseFixed, senseFixedDeferred:
		return parseFixed(b, code == senseFixedDeferred)
	case senseDescriptor, senseDescriptorDeferred:
		return parseDescriptor(b, code == senseDescriptorDeferred)
	default:
		return Sense{}, opError(op, "", fmt.Errorf("%w: response code %02xh", blocks.ErrInvalid, code))
	}
}

// parseFixed: SPC-4, 4.5.3. Some devices send no more than 14 bytes, those with
// the additional sense code.
func parseFixed(b []byte, deferred bool) (Sense, error) {
	if len(b) < 8 {
		return Sense{}, short("parse sense", len(b), 8)
	}
	b = b[:min(len(b), 8+int(b[7]))]
	if len(b) < 14 {
		return Sense{}, short("parse sense", len(b), 14)
	}
	s := Sense{SenseCode: SenseCode{SenseKey(b[2] & 0xF), b[12], b[13]}, Deferred: deferred, Segment: -1}
	if s.Key != CopyAborted || deferred {
		return s, nil
	}
	// SPC-4, 6.4.4: COMMAND-SPECIFIC INFORMATION holds where the answers of
	// source and destination begin, 0 for none, and the segment.
	s.Segment = int(binary.BigEndian.Uint16(b[10:]))
	for _, at := range b[8:10] {
		if at >= 18 && int(at) < len(b) {
			s.Forwarded = append(s.Forwarded, Forwarded{Status(b[at]), bytes.Clone(b[at+1:])})
		}
	}
	return s, nil
}

// Types of sense data descriptors. SPC-4, table 28.
const (
	descriptorSpecific  = 0x01
	descriptorForwarded = 0x0C
)

// parseDescriptor: SPC-4, 4.5.2. What is cut off at the end is passed over: the
// key and the code stand in front.
func parseDescriptor(b []byte, deferred bool) (Sense, error) {
	if len(b) < 8 {
		return Sense{}, short("parse sense", len(b), 8)
	}
	s := Sense{SenseCode: SenseCode{SenseKey(b[1] & 0xF), b[2], b[3]}, Deferred: deferred, Segment: -1}
	if s.Key != CopyAborted || deferred {
		return s, nil
	}
	rest := b[8:min(len(b), 8+int(b[7]))]
	for len(rest) >= 2 && len(rest) >= 2+int(rest[1]) {
		d := rest[:2+int(rest[1])]
		rest = rest[len(d):]
		switch {
		case d[0] == descriptorSpecific && len(d) == 12:
			// The four bytes of the fixed format stand on the right.
			s.Segment = int(binary.BigEndian.Uint16(d[10:]))
		case d[0] == descriptorForwarded && len(d) >= 4:
			s.Forwarded = append(s.Forwarded, Forwarded{Status(d[3]), bytes.Clone(d[4:])})
		}
	}
	return s, nil
}
