package nvme

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// IdentifySize is the length of every Identify data structure in bytes.
const IdentifySize = 4096

// Identify CNS values.
const (
	cnsNamespace      = 0x00
	cnsController     = 0x01
	cnsNamespaceDescs = 0x03
	cnsNamespaceOfSet = 0x05 // of the command set in CDW11
)

// Controller is what Identify Controller (CNS 01h) says, as far as it matters
// for copying.
type Controller struct {
	Serial   string // bytes 23:04, trailing spaces removed
	Model    string // bytes 63:24
	Firmware string // bytes 71:64
	SubNQN   string // bytes 1023:768, up to the first NUL
	CNTLID   uint16 // bytes 79:78
	Version  uint32 // bytes 83:80, major<<16 | minor<<8 | tertiary

	// MDTS is byte 77, a power of two of the minimum page size, 0 without a
	// limit. It bounds the list of ranges, not the length of a copy.
	MDTS uint8

	EffectsLog     bool    // LPA bit 1: the Commands Supported and Effects log exists
	Copy           bool    // ONCS bit 8
	CopyFormats    Formats // OCFS, which later revisions call CDFS
	VolatileCache  bool    // VWC bit 0
	CopySingleAtom bool    // ONCS bit 9 (NVMCSA): not relied upon
}

// Namespace is what Identify Namespace (CNS 00h) says, as far as it matters for
// copying.
type Namespace struct {
	Blocks       uint64 // NSZE, logical blocks
	Format       uint8  // FLBAS, the number of the LBA format in use
	BlockSize    uint32 // LBA data size of that, bytes
	MetadataSize uint16 // bytes a block
	Protection   uint8  // DPS bits 2:0: 0 none, else the type
	WriteProtect bool   // NSATTR bit 0
	Shared       bool   // NMIC bit 0
	Limits       Limits
	NGUID        [16]byte // all zero when not supported
	EUI64        [8]byte  // all zero when not supported
}

// ParseController parses the 4096 bytes of the Identify Controller data
// structure (CNS 01h).
func ParseController(b []byte) (Controller, error) {
	if len(b) < IdentifySize {
		return Controller{}, opError("parse identify controller", "", fmt.Errorf("%w: %d of %d bytes", blocks.ErrShort, len(b), IdentifySize))
	}
	oncs := binary.LittleEndian.Uint16(b[520:])
	return Controller{
		Serial:         fixedString(b[4:24]),
		Model:          fixedString(b[24:64]),
		Firmware:       fixedString(b[64:72]),
		SubNQN:         fixedString(b[768:1024]),
		MDTS:           b[77],
		CNTLID:         binary.LittleEndian.Uint16(b[78:]),
		Version:        binary.LittleEndian.Uint32(b[80:]),
		EffectsLog:     b[261]&(1<<1) != 0,
		Copy:           oncs&(1<<8) != 0,
		CopySingleAtom: oncs&(1<<9) != 0,
		VolatileCache:  b[525]&1 != 0,
		CopyFormats:    Formats(binary.LittleEndian.Uint16(b[534:])),
	}, nil
}

// ParseNamespace parses the 4096 bytes of the Identify Namespace data structure
// of the NVM command set (CNS 00h). A namespace ID without a namespace is
// answered with zeroes: [ErrInactive].
func ParseNamespace(b []byte) (Namespace, error) {
	const op = "parse identify namespace"
	if len(b) < IdentifySize {
		return Namespace{}, opError(op, "", fmt.Errorf("%w: %d of %d bytes", blocks.ErrShort, len(b), IdentifySize))
	}
	n := Namespace{
		Blocks:       binary.LittleEndian.Uint64(b[0:]),
		Protection:   b[29] & 0x7,
		Shared:       b[30]&1 != 0,
		WriteProtect: b[99]&1 != 0,
		Limits: Limits{
			RangeBlocks:   uint32(binary.LittleEndian.Uint16(b[74:])),
			CommandBlocks: binary.LittleEndian.Uint32(b[76:]),
			Ranges:        uint16(b[80]) + 1, // MSRC counts from 0
		},
		NGUID: [16]byte(b[104:120]),
		EUI64: [8]byte(b[120:128]),
	}
	if n.Blocks == 0 {
		return Namespace{}, opError(op, "", ErrInactive)
	}
	// FLBAS: bits 3:0 and, with more than 16 formats, bits 6:5 above them.
	last, format := b[25], b[26]&0xF
	if last >= 16 {
		format |= b[26] >> 5 & 0x3 << 4
	}
	if format > last || last >= 64 {
		return Namespace{}, opError(op, "", fmt.Errorf("%w: LBA format %d of %d", blocks.ErrInvalid, format, int(last)+1))
	}
	n.Format = format
	lbaf := b[128+4*int(format):]
	n.MetadataSize = binary.LittleEndian.Uint16(lbaf)
	// 512 bytes is the smallest block the spec knows; the upper bound keeps
	// arithmetic in bytes far from overflow and is far above any device.
	shift := lbaf[2]
	if shift < 9 || shift > 20 {
		return Namespace{}, opError(op, "", fmt.Errorf("%w: LBA data size 2^%d", blocks.ErrInvalid, shift))
	}
	n.BlockSize = 1 << shift
	if n.Blocks > 1<<63>>shift {
		return Namespace{}, opError(op, "", fmt.Errorf("%w: %d blocks of %d bytes", blocks.ErrInvalid, n.Blocks, n.BlockSize))
	}
	return n, nil
}

// fixedString cuts a space padded ASCII field, or a NUL terminated string.
func fixedString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(bytes.TrimRight(b, " "))
}

// Descriptor types of the Namespace Identification Descriptor list.
const (
	nidtEUI64 = 0x1
	nidtNGUID = 0x2
	nidtUUID  = 0x3
	nidtCSI   = 0x4
)

// CommandSet is a Command Set Identifier.
type CommandSet uint8

// Command sets.
const (
	CommandSetNVM   CommandSet = 0x0
	CommandSetKV    CommandSet = 0x1
	CommandSetZoned CommandSet = 0x2
)

// Identifiers is the Namespace Identification Descriptor list (CNS 03h).
type Identifiers struct {
	EUI64      [8]byte
	NGUID      [16]byte
	UUID       [16]byte
	CommandSet CommandSet // NVM when the list does not name one
}

// ParseIdentifiers parses the descriptor list of CNS 03h. Descriptors of unknown
// types are passed over: later revisions add some.
func ParseIdentifiers(b []byte) (Identifiers, error) {
	const op = "parse namespace identification descriptors"
	if len(b) < IdentifySize {
		return Identifiers{}, opError(op, "", fmt.Errorf("%w: %d of %d bytes", blocks.ErrShort, len(b), IdentifySize))
	}
	var ids Identifiers
	b = b[:IdentifySize]
	for len(b) >= 4 && b[1] != 0 {
		nidt, length := b[0], int(b[1])
		if 4+length > len(b) {
			return Identifiers{}, opError(op, "", fmt.Errorf("%w: descriptor of %d bytes passes the end", blocks.ErrInvalid, length))
		}
		if err := ids.set(nidt, b[4:4+length]); err != nil {
			return Identifiers{}, opError(op, "", err)
		}
		b = b[4+length:]
	}
	return ids, nil
}

func (ids *Identifiers) set(nidt uint8, v []byte) error {
	var field []byte
	switch nidt {
	case nidtEUI64:
		field = ids.EUI64[:]
	case nidtNGUID:
		field = ids.NGUID[:]
	case nidtUUID:
		field = ids.UUID[:]
	case nidtCSI:
		if len(v) == 1 {
			ids.CommandSet = CommandSet(v[0])
			return nil
		}
	default:
		return nil
	}
	if len(v) != len(field) || len(field) == 0 {
		return fmt.Errorf("%w: descriptor type %d of %d bytes", blocks.ErrInvalid, nidt, len(v))
	}
	copy(field, v)
	return nil
}

// ParseZoneBlocks returns the size of a zone in blocks from the Identify Namespace data
// structure of the Zoned Namespace command set (CNS 05h), for the LBA format that is in
// use: LBA Format Extension, bytes 2816 and up, 16 each.
func ParseZoneBlocks(b []byte, format uint8) (uint64, error) {
	const op = "parse identify zoned namespace"
	if len(b) < IdentifySize || format >= 64 {
		return 0, opError(op, "", fmt.Errorf("%w: %d of %d bytes, format %d", blocks.ErrShort, len(b), IdentifySize, format))
	}
	size := binary.LittleEndian.Uint64(b[2816+16*int(format):])
	if size == 0 || size > 1<<40 {
		return 0, opError(op, "", fmt.Errorf("%w: zones of %d blocks", blocks.ErrInvalid, size))
	}
	return size, nil
}

// Effects is one entry of the Commands Supported and Effects log (LID 05h).
type Effects uint32

// Supported is bit 0, CSUPP.
func (e Effects) Supported() bool { return e&1 != 0 }

// ParseEffects returns the entry of an I/O command: the log gives the first 1024
// bytes to the admin commands, the next to the I/O commands, four to each opcode.
func ParseEffects(b []byte, op Opcode) (Effects, error) {
	if len(b) < 2048 {
		return 0, opError("parse effects log", "", fmt.Errorf("%w: %d of 2048 bytes", blocks.ErrShort, len(b)))
	}
	return Effects(binary.LittleEndian.Uint32(b[1024+4*int(op):])), nil
}
