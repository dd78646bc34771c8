package target

import (
	"encoding/binary"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// What becomes known of an EXTENDED COPY afterwards.

// copyResult is a copy that was begun. Its fields but for running belong to the copy while it runs, and are under
// Target.mu afterwards.
type copyResult struct {
	running  bool // under Target.mu
	segments int
	bytes    uint64
	reply    Reply
}

// beginCopy enters a copy by its list identifier, if it has one, for those who ask for it. It is nil if one with that
// identifier is under way.
func (t *Target) beginCopy(c *Command, list *copyList) *copyResult {
	r := &copyResult{running: true}
	if list.usage == usageNone {
		return r
	}
	key := operationKey{c.Nexus, c.Unit, uint32(list.id)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.results[key]; old != nil && old.running {
		return nil
	}
	t.results[key] = r
	return r
}

func (t *Target) endCopy(r *copyResult, reply Reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.running, r.reply = false, reply
}

// copyOf is what was remembered of a copy, and the rest is as it is now.
func (t *Target) copyOf(c *Command) (copyResult, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.results[operationKey{c.Nexus, c.Unit, uint32(c.CDB[2])}]
	switch {
	case r == nil:
		return copyResult{}, false
	case r.running:
		return copyResult{running: true}, true
	}
	return *r, true
}

// copyStatus is RECEIVE COPY STATUS(LID1). SPC-4, 6.25.
func (t *Target) copyStatus(_ *unit, c *Command) Reply {
	r, known := t.copyOf(c)
	if t.config.XCopy == nil {
		return refuse(invalidOpcode)
	}
	if !known {
		return refuse(invalidCDB)
	}
	b := make([]byte, 12)
	switch {
	case r.running:
	case r.reply.Status != 0:
		b[4] = statusError
	default:
		b[4] = statusDone
	}
	binary.BigEndian.PutUint16(b[5:], uint16(r.segments))
	b[7] = 1 // units of the transfer count: KiB
	binary.BigEndian.PutUint32(b[8:], uint32(r.bytes>>10))
	return give(c, finish(b), binary.BigEndian.Uint32(c.CDB[10:]))
}

// copyFailure is RECEIVE COPY FAILURE DETAILS(LID1). It knows copies that failed only, and tells of each once. SPC-4, 6.22.
func (t *Target) copyFailure(_ *unit, c *Command) Reply {
	r, known := t.copyOf(c)
	if t.config.XCopy == nil {
		return refuse(invalidOpcode)
	}
	if !known || r.running || r.reply.Status == 0 {
		return refuse(invalidCDB)
	}
	b := make([]byte, 60, 60+len(r.reply.Sense))
	b[56] = byte(r.reply.Status)
	binary.BigEndian.PutUint16(b[58:], uint16(len(r.reply.Sense)))
	t.mu.Lock()
	delete(t.results, operationKey{c.Nexus, c.Unit, uint32(c.CDB[2])})
	t.mu.Unlock()
	return give(c, finish(append(b, r.reply.Sense...)), binary.BigEndian.Uint32(c.CDB[10:]))
}

// copyParameters is RECEIVE COPY OPERATING PARAMETERS. SPC-4, 6.23.
func (t *Target) copyParameters(_ *unit, c *Command) Reply {
	l := t.config.XCopy
	if l == nil {
		return refuse(invalidOpcode)
	}
	if c.CDB[2] != 0 {
		return refuse(invalidCDB)
	}
	types := []byte{segmentOfBlocks, cscdByDesignator}
	b := make([]byte, 44)
	b[4] = 1 // SNLID: a list may come without an identifier
	binary.BigEndian.PutUint16(b[8:], l.Units)
	binary.BigEndian.PutUint16(b[10:], l.Segments)
	binary.BigEndian.PutUint32(b[12:], l.ListBytes)
	binary.BigEndian.PutUint32(b[16:], l.SegmentBytes)
	binary.BigEndian.PutUint16(b[34:], 255) // copies at a time
	b[36] = 255                             // with an identifier
	b[37] = 9                               // granularity: 512 bytes
	b[43] = byte(len(types))
	return give(c, finish(append(b, types...)), binary.BigEndian.Uint32(c.CDB[10:]))
}

// Sense codes of EXTENDED COPY. SPC-4, 6.4 and annex D.
var (
	tooManyUnits    = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x26, ASCQ: 0x06}
	unknownUnitType = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x26, ASCQ: 0x07}
	unknownSegment  = scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x26, ASCQ: 0x09}
	unreachable     = scsi.SenseCode{Key: scsi.CopyAborted, ASC: 0x08, ASCQ: 0x04}
	notReachable    = scsi.SenseCode{Key: scsi.CopyAborted, ASC: 0x0D, ASCQ: 0x02}
	inexactSegment  = scsi.SenseCode{Key: scsi.CopyAborted, ASC: 0x26, ASCQ: 0x0A}
)
