package target

import (
	"context"
	"encoding/binary"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// CopyLimits bounds EXTENDED COPY. They are reported and enforced.
type CopyLimits struct {
	Units        uint16 // CSCD descriptors in a list
	Segments     uint16 // segment descriptors in a list
	ListBytes    uint32 // of all descriptors of a list
	SegmentBytes uint32 // of what a segment copies
}

// DefaultCopyLimits are those of the kernel's target (drivers/target/target_core_xcopy.h).
func DefaultCopyLimits() *CopyLimits {
	return &CopyLimits{Units: 2, Segments: 1, ListBytes: 1024, SegmentBytes: 256 << 20}
}

// Lengths and type codes of descriptors. SPC-4, 6.4.5.1 and 6.4.6.1.
const (
	copyHeadSize     = 16
	cscdSize         = 32
	segmentSize      = 28
	cscdByDesignator = 0xE4
	segmentOfBlocks  = 0x02 // from block device to block device
)

// Values of LIST ID USAGE. SPC-4, table 117.
const (
	usageHold    = 0 // the results are kept
	usageDiscard = 2 // and the data of the copy are not
	usageNone    = 3 // there is no list identifier
)

// copyList is a parameter list of EXTENDED COPY(LID1). SPC-4, 6.4.3.
type copyList struct {
	id       byte
	usage    byte
	units    [][]byte // CSCD descriptors
	segments [][]byte
}

// segment is a segment descriptor for a copy between block devices. SPC-4, 6.4.6.3.
type segment struct {
	from, to       uint16 // numbers of CSCD descriptors
	byDestination  bool   // DC: blocks are those of the destination
	blocks         uint64
	fromLBA, toLBA uint64
}

// parseCopyList takes a list apart. Its lengths come first, then what is in it.
func (l *CopyLimits) parseCopyList(b []byte) (*copyList, *scsi.SenseCode) {
	if len(b) < copyHeadSize {
		return nil, &listLength
	}
	units, segments := uint64(binary.BigEndian.Uint16(b[2:])), uint64(binary.BigEndian.Uint32(b[8:]))
	inline := uint64(binary.BigEndian.Uint32(b[12:]))
	if units+segments > uint64(l.ListBytes) || copyHeadSize+units+segments+inline != uint64(len(b)) {
		return nil, &listLength
	}
	c := &copyList{id: b[0], usage: b[1] >> 3 & 3}
	switch {
	case b[1]&0xC0 != 0, binary.BigEndian.Uint32(b[4:]) != 0, inline != 0, units%cscdSize != 0,
		c.usage == 1, c.usage == usageNone && c.id != 0:
		return nil, &invalidList
	case units/cscdSize > uint64(l.Units):
		return nil, &tooManyUnits
	}
	descriptors := b[copyHeadSize:]
	for ; units > 0; units -= cscdSize {
		c.units, descriptors = append(c.units, descriptors[:cscdSize]), descriptors[cscdSize:]
	}
	for len(descriptors) > 0 {
		if len(descriptors) < 4 {
			return nil, &invalidList
		}
		n := 4 + int(binary.BigEndian.Uint16(descriptors[2:]))
		if n > len(descriptors) {
			return nil, &invalidList
		}
		c.segments, descriptors = append(c.segments, descriptors[:n]), descriptors[n:]
	}
	if len(c.segments) > int(l.Segments) {
		return nil, &tooManySegments
	}
	return c, nil
}

// parseSegment reads a segment descriptor.
func parseSegment(b []byte) (s segment, bad *scsi.SenseCode) {
	if b[0] != segmentOfBlocks {
		return s, &unknownSegment
	}
	if len(b) != segmentSize || b[1]&^3 != 0 || binary.BigEndian.Uint16(b[8:]) != 0 {
		return s, &invalidList
	}
	return segment{
		from: binary.BigEndian.Uint16(b[4:]), to: binary.BigEndian.Uint16(b[6:]), byDestination: b[1]&2 != 0,
		blocks:  uint64(binary.BigEndian.Uint16(b[10:])),
		fromLBA: binary.BigEndian.Uint64(b[12:]), toLBA: binary.BigEndian.Uint64(b[20:]),
	}, nil
}

// findCSCD finds the unit that a CSCD descriptor names: the one that got the command before others that have its name, as
// the kernel's target does it. It is nil, without a sense code, if there is none. SPC-4, 6.4.5.5.
func (t *Target) findCSCD(b []byte, receiver *unit) (*unit, *scsi.SenseCode) {
	if b[0] != cscdByDesignator {
		return nil, &unknownUnitType
	}
	length := int(b[7])
	if b[1]&0x1F != 0 || b[6] != 0 || length > 20 {
		return nil, &invalidList
	}
	block := uint32(b[29])<<16 | uint32(b[30])<<8 | uint32(b[31])
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range append([]*unit{receiver}, t.units...) {
		for _, d := range u.identity.Designators {
			if d.Association != scsi.LogicalUnit || b[4]&0x0F != d.CodeSet || b[5]&0x3F != byte(d.Association)<<4|byte(d.Type) ||
				string(b[8:8+length]) != string(d.Value) {
				continue
			}
			if block != u.block {
				return nil, &invalidList
			}
			return u, nil
		}
	}
	return nil, nil
}

// extendedCopy is EXTENDED COPY(LID1). SPC-4, 6.4. It is carried out before the command ends.
func (t *Target) extendedCopy(ctx context.Context, u *unit, c *Command, f Fault) Reply {
	limits := t.config.XCopy
	if limits == nil {
		return refuse(invalidOpcode)
	}
	n := binary.BigEndian.Uint32(c.CDB[10:])
	switch {
	case n == 0:
		return Reply{}
	case uint64(n) != uint64(len(c.Out)):
		return refuse(listLength)
	}
	list, bad := limits.parseCopyList(c.Out)
	if bad != nil {
		return refuse(*bad)
	}
	units, bad := t.cscds(list, u)
	if bad != nil {
		return refuse(*bad)
	}
	var segments []segment
	for _, b := range list.segments {
		s, bad := parseSegment(b)
		if bad != nil {
			return refuse(*bad)
		}
		segments = append(segments, s)
	}
	result := t.beginCopy(c, list)
	if result == nil {
		return refuse(operationRunning)
	}
	reply := t.copySegments(ctx, u, units, segments, f, result)
	t.endCopy(result, reply)
	return reply
}

// cscds finds the units of a list. Those that are not there are nil.
func (t *Target) cscds(list *copyList, receiver *unit) (units []*unit, bad *scsi.SenseCode) {
	for _, b := range list.units {
		named, bad := t.findCSCD(b, receiver)
		if bad != nil {
			return nil, bad
		}
		units = append(units, named)
	}
	return units, nil
}

// copySegments carries out the segments in their order, until one fails.
func (t *Target) copySegments(ctx context.Context, receiver *unit, units []*unit, segments []segment, f Fault, result *copyResult) Reply {
	for i, s := range segments {
		if int(s.from) >= len(units) || int(s.to) >= len(units) {
			return copyAborted(unreachable, i)
		}
		from, to := units[s.from], units[s.to]
		if from == nil || to == nil || from != receiver && to != receiver {
			return copyAborted(notReachable, i)
		}
		if code := t.copySegment(ctx, from, to, s, f, result); code != nil {
			return copyAborted(*code, i)
		}
		result.segments++
	}
	return Reply{}
}

// copySegment copies in ascending order, a chunk at a time, so that ranges that overlap spread.
func (t *Target) copySegment(ctx context.Context, from, to *unit, s segment, f Fault, result *copyResult) *scsi.SenseCode {
	length := s.blocks * uint64(from.block)
	if s.byDestination {
		length = s.blocks * uint64(to.block)
	}
	switch {
	case length > uint64(t.config.XCopy.SegmentBytes):
		return &notReachable
	case length%uint64(from.block) != 0 || length%uint64(to.block) != 0:
		return &inexactSegment
	case !from.contains(s.fromLBA, length/uint64(from.block)) || !to.contains(s.toLBA, length/uint64(to.block)):
		return &notReachable
	}
	end := length
	if f.Short != 0 {
		end = min(end, f.Short*uint64(to.block))
	}
	for at := uint64(0); at < end; {
		if ctx.Err() != nil {
			return &notReachable
		}
		data := make([]byte, min(chunkBytes, end-at))
		if _, err := (locked{from}).ReadAt(data, int64(s.fromLBA*uint64(from.block)+at)); err != nil {
			return &notReachable
		}
		f.spoil(data)
		if _, err := (locked{to}).WriteAt(data, int64(s.toLBA*uint64(to.block)+at)); err != nil {
			return &notReachable
		}
		at += uint64(len(data))
		result.bytes += uint64(len(data))
	}
	if end < length {
		return &notReachable
	}
	return nil
}

// copyAborted is the end of a copy that has begun. The number of the segment that failed is in the last two bytes of the
// command-specific information. SPC-4, 6.4.4.
func copyAborted(code scsi.SenseCode, segment int) Reply {
	r := refuse(code)
	binary.BigEndian.PutUint16(r.Sense[10:], uint16(segment))
	return r
}
