package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Descriptor type codes that this package uses. SPC-4, tables 146 and 147.
const (
	segmentBlockToBlock = 0x02
	cscdIdentification  = 0xE4
)

// Parameters are the operating parameters of a copy manager: how much it takes at
// a time.
type Parameters struct {
	NoListID        bool   // SNLID: list identifier usage 3 is known
	Descriptors     uint16 // of logical units (CSCDs) in a command
	Segments        uint16 // in a command
	ListBytes       uint32 // both lists of descriptors together
	SegmentBytes    uint32 // 0: no limit
	TotalConcurrent uint16 // commands at a time, 0: not told
	MaxConcurrent   uint8  // those with a list identifier, 0: not told
	Granularity     uint64 // bytes: a segment is a multiple of it
	Types           []uint8
}

// ParseParameters parses the data of RECEIVE COPY OPERATING PARAMETERS. SPC-4,
// 6.21.
func ParseParameters(b []byte) (Parameters, error) {
	const op = "parse operating parameters"
	if len(b) < 44 {
		return Parameters{}, short(op, len(b), 44)
	}
	end := 44 + int(b[43])
	if end > len(b) {
		return Parameters{}, short(op, len(b), end)
	}
	// AVAILABLE DATA counts what follows it.
	if n := uint64(binary.BigEndian.Uint32(b)) + 4; n < uint64(end) {
		return Parameters{}, short(op, int(n), end)
	}
	granularity, err := power(b[37])
	if err != nil {
		return Parameters{}, opError(op, "", err)
	}
	return Parameters{
		NoListID:        b[4]&1 != 0,
		Descriptors:     binary.BigEndian.Uint16(b[8:]),
		Segments:        binary.BigEndian.Uint16(b[10:]),
		ListBytes:       binary.BigEndian.Uint32(b[12:]),
		SegmentBytes:    binary.BigEndian.Uint32(b[16:]),
		TotalConcurrent: binary.BigEndian.Uint16(b[34:]),
		MaxConcurrent:   b[36],
		Granularity:     granularity,
		Types:           bytes.Clone(b[44:end]),
	}, nil
}

// power is 2^log2 bytes. Whole numbers of blocks of more than a few GiB are not
// of this world.
func power(log2 uint8) (uint64, error) {
	if log2 > 40 {
		return 0, fmt.Errorf("%w: granularity of 2^%d bytes", blocks.ErrInvalid, log2)
	}
	return 1 << log2, nil
}

// Types of third-party copy descriptors. SPC-4, table 664.
const (
	thirdPartyCommands    = 0x0001
	thirdPartyParameters  = 0x0004
	thirdPartyDescriptors = 0x0008
	thirdPartyGeneral     = 0x8001
)

// ThirdParty is the third-party copy page (8Fh), as far as it is about EXTENDED
// COPY and token copies. What a device does not tell is nil.
type ThirdParty struct {
	Commands    []ServiceAction
	Parameters  *ParameterData
	Descriptors []uint8
	General     *GeneralCopy
	Tokens      *TokenLimits
}

// ServiceAction is a command that is named by an opcode and a service action.
type ServiceAction struct {
	Opcode Opcode
	Action uint8
}

// ParameterData bounds a parameter list.
type ParameterData struct {
	Descriptors, Segments uint16
	ListBytes             uint32
}

// GeneralCopy bounds copies.
type GeneralCopy struct {
	TotalConcurrent uint32
	SegmentBytes    uint32 // 0: no limit
	Granularity     uint64 // bytes
}

// ParseThirdParty parses page 8Fh. SPC-4, 7.8.17. Descriptors of other types are
// passed over; one that comes twice contradicts itself, and counts as missing.
func ParseThirdParty(b []byte) (ThirdParty, error) {
	const op = "parse third-party copy page"
	body, err := pageBody(op, pageThirdParty, b)
	if err != nil {
		return ThirdParty{}, err
	}
	var t ThirdParty
	seen := make(map[uint16]bool)
	for len(body) > 0 {
		if len(body) < 4 {
			return ThirdParty{}, short(op, len(body), 4)
		}
		kind, end := binary.BigEndian.Uint16(body), 4+int(binary.BigEndian.Uint16(body[2:]))
		if end > len(body) {
			return ThirdParty{}, short(op, len(body), end)
		}
		parse := thirdPartyParsers[kind]
		if parse != nil && seen[kind] {
			return ThirdParty{}, opError(op, "", fmt.Errorf("%w: descriptor %04xh comes twice", blocks.ErrInvalid, kind))
		}
		seen[kind] = true
		if parse != nil {
			if err := parse(&t, body[:end]); err != nil {
				return ThirdParty{}, opError(op, "", fmt.Errorf("descriptor %04xh: %w", kind, err))
			}
		}
		body = body[end:]
	}
	return t, nil
}

// thirdPartyParsers get a descriptor with its head, so that offsets are those of
// the tables.
var thirdPartyParsers = map[uint16]func(*ThirdParty, []byte) error{
	thirdPartyCommands:    (*ThirdParty).commands,
	thirdPartyParameters:  (*ThirdParty).parameters,
	thirdPartyDescriptors: (*ThirdParty).descriptors,
	thirdPartyGeneral:     (*ThirdParty).general,
	thirdPartyTokenLimits: (*ThirdParty).tokenLimits,
}

// listAt is a list whose length stands in the byte before it.
func listAt(d []byte, at int) ([]byte, error) {
	if len(d) <= at || len(d) <= at+int(d[at]) {
		return nil, fmt.Errorf("%w: a list passes the end", blocks.ErrShort)
	}
	return d[at+1 : at+1+int(d[at])], nil
}

func (t *ThirdParty) commands(d []byte) error {
	list, err := listAt(d, 4)
	if err != nil {
		return err
	}
	t.Commands = []ServiceAction{}
	for len(list) > 0 {
		actions, err := listAt(list, 1)
		if err != nil {
			return err
		}
		for _, a := range actions {
			t.Commands = append(t.Commands, ServiceAction{Opcode(list[0]), a})
		}
		list = list[2+len(actions):]
	}
	return nil
}

func (t *ThirdParty) parameters(d []byte) error {
	if len(d) < 20 {
		return fmt.Errorf("%w: %d of 20 bytes", blocks.ErrShort, len(d))
	}
	t.Parameters = &ParameterData{
		Descriptors: binary.BigEndian.Uint16(d[8:]),
		Segments:    binary.BigEndian.Uint16(d[10:]),
		ListBytes:   binary.BigEndian.Uint32(d[12:]),
	}
	return nil
}

func (t *ThirdParty) descriptors(d []byte) error {
	list, err := listAt(d, 4)
	t.Descriptors = append([]uint8{}, list...)
	return err
}

func (t *ThirdParty) general(d []byte) error {
	if len(d) < 18 {
		return fmt.Errorf("%w: %d of 18 bytes", blocks.ErrShort, len(d))
	}
	granularity, err := power(d[16])
	t.General = &GeneralCopy{
		TotalConcurrent: binary.BigEndian.Uint32(d[4:]),
		SegmentBytes:    binary.BigEndian.Uint32(d[12:]),
		Granularity:     granularity,
	}
	return err
}

// merge is the stricter of what a target says in its operating parameters and in
// page 8Fh. Where a zero means that there is no limit the other one counts.
func (p Parameters) merge(t ThirdParty) Parameters {
	if d := t.Parameters; d != nil {
		p.Descriptors = min(p.Descriptors, d.Descriptors)
		p.Segments = min(p.Segments, d.Segments)
		p.ListBytes = min(p.ListBytes, d.ListBytes)
	}
	if g := t.General; g != nil {
		p.SegmentBytes = minUnlessZero(p.SegmentBytes, g.SegmentBytes)
		p.TotalConcurrent = minUnlessZero(p.TotalConcurrent, uint16(min(g.TotalConcurrent, math.MaxUint16)))
		p.Granularity = max(p.Granularity, g.Granularity)
	}
	return p
}

func minUnlessZero[T uint16 | uint32](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
