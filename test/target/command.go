package target

import (
	"context"
	"encoding/binary"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// Command is a command of an initiator.
type Command struct {
	Nexus string // who asks: the initiator port
	Unit  int
	CDB   []byte
	Out   []byte // data that came with it
	Room  int    // bytes of data that the initiator takes
}

// Reply is the answer to a command.
type Reply struct {
	Status scsi.Status
	Sense  []byte
	In     []byte // no more than there is room for
	// Lost: there is no answer, and never will be.
	Lost bool
	// Wanted is the number of bytes that the CDB asks to be moved, which may be more or less than the initiator is
	// prepared for; 0: what was moved.
	Wanted int
	// Residual is claimed to have been left over of the data, besides what was.
	Residual int

	code scsi.SenseCode
}

// Sense codes. SPC-4, annex D.
var (
	invalidOpcode     = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x20}
	invalidCDB        = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x24}
	invalidUnit       = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x25}
	invalidList       = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x26}
	listLength        = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x1A}
	outOfRange        = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x21}
	tooManySegments   = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x26, ASCQ: 0x08}
	operationRunning  = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x00, ASCQ: 0x16}
	tokenUnknown      = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 0x04}
	tokenCorrupt      = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 0x05}
	tokenRevoked      = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 0x06}
	tokenExpired      = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 0x07}
	tokenDeleted      = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 0x09}
	tokenLength       = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 0x0A}
	powerOn           = scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29}
	wasReset          = scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29, ASCQ: 0x03}
	mediumUnreachable = scsi.SenseCode{Key: scsi.HardwareError, ASC: 0x44}
)

// refuse is CHECK CONDITION with sense data in the fixed format. SPC-4, 4.5.3.
func refuse(code scsi.SenseCode) Reply {
	return Reply{Status: scsi.CheckCondition, Sense: fixedSense(code), code: code}
}

// Refusal is the answer of a transport that cannot hand a command on.
func Refusal(code scsi.SenseCode) Reply { return refuse(code) }

func fixedSense(code scsi.SenseCode) []byte {
	b := make([]byte, 18)
	b[0], b[2], b[7], b[12], b[13] = 0x70, byte(code.Key), 10, code.ASC, code.ASCQ
	return b
}

// give answers with data, as much of it as the CDB and the initiator allow.
func give(c *Command, data []byte, allocation uint32) Reply {
	return Reply{In: data[:min(uint64(len(data)), uint64(allocation), uint64(max(c.Room, 0)))]}
}

// form is how a command is carried out.
type form struct {
	name   string
	length int // bytes of the CDB
	// always: a unit attention does not keep it from being carried out. SPC-4, 5.14.
	always bool
	do     func(t *Target, ctx context.Context, u *unit, c *Command, f Fault) Reply
}

// plain wraps what needs neither a context nor a fault.
func plain(do func(t *Target, u *unit, c *Command) Reply) func(*Target, context.Context, *unit, *Command, Fault) Reply {
	return func(t *Target, _ context.Context, u *unit, c *Command, _ Fault) Reply { return do(t, u, c) }
}

// opcodes with a service action are the opcode in the upper byte and the action in the lower one; the others have FFh
// there.
func opcode(cdb []byte) uint16 {
	if len(cdb) == 0 {
		return 0xFFFF
	}
	switch cdb[0] {
	case 0x83, 0x84, 0x9E:
		if len(cdb) < 2 {
			return 0xFFFF
		}
		return uint16(cdb[0])<<8 | uint16(cdb[1]&0x1F)
	}
	return uint16(cdb[0])<<8 | 0xFF
}

// forms are the commands of the target.
var forms = map[uint16]form{
	0x00FF: {"test-unit-ready", 6, false, plain((*Target).ready)},
	0x03FF: {"request-sense", 6, true, plain((*Target).requestSense)},
	0x08FF: {"read", 6, false, (*Target).read},
	0x12FF: {"inquiry", 6, true, plain((*Target).inquire)},
	0x1AFF: {"mode-sense", 6, false, plain((*Target).modeSense)},
	0x25FF: {"read-capacity", 10, false, plain((*Target).capacity10)},
	0x28FF: {"read", 10, false, (*Target).read},
	0x2AFF: {"write", 10, false, (*Target).write},
	0x35FF: {"synchronize-cache", 10, false, plain((*Target).synchronize)},
	0x5AFF: {"mode-sense", 10, false, plain((*Target).modeSense)},
	0x88FF: {"read", 16, false, (*Target).read},
	0x8AFF: {"write", 16, false, (*Target).write},
	0x91FF: {"synchronize-cache", 16, false, plain((*Target).synchronize)},
	0x9E10: {"read-capacity", 16, false, plain((*Target).capacity16)},
	0xA0FF: {"report-luns", 12, true, plain((*Target).reportUnits)},

	0x8300: {"extended-copy", 16, false, (*Target).extendedCopy},
	0x8310: {"populate-token", 16, false, (*Target).populate},
	0x8311: {"write-using-token", 16, false, (*Target).writeUsing},
	0x831C: {"copy-operation-abort", 16, false, plain((*Target).abort)},
	0x8400: {"receive-copy-status", 16, false, plain((*Target).copyStatus)},
	0x8403: {"receive-copy-parameters", 16, false, plain((*Target).copyParameters)},
	0x8404: {"receive-copy-failure", 16, false, plain((*Target).copyFailure)},
	0x8405: {"receive-copy-status", 16, false, plain((*Target).receiveStatus)},
	0x8407: {"receive-token", 16, false, plain((*Target).receiveToken)},
}

func nameOf(cdb []byte) string {
	if f, ok := forms[opcode(cdb)]; ok {
		return f.name
	}
	return "unknown"
}

// nobody answers for units that are not there. SPC-4, 5.8.4 and SAM-5, 5.11.
func (t *Target) nobody(c *Command, op uint16) Reply {
	switch op {
	case 0x12FF:
		data := make([]byte, 36)
		data[0] = 0x7F
		return give(c, data, uint32(binary.BigEndian.Uint16(c.CDB[3:])))
	case 0xA0FF:
		return t.reportUnits(nil, c)
	}
	return refuse(invalidUnit)
}
