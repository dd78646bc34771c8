package nvme

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Why pieces are not issued.
const (
	// reasonUnwritten: what a source reads as above a write pointer is nobody's
	// data, and a controller may fail to read it (NVMe Zoned Namespace Command Set
	// Specification, reads).
	reasonUnwritten = "zone:unwritten"
	// reasonPointer: the write pointer of the destination stands elsewhere.
	reasonPointer = "zone:write-pointer"
)

// ZoneState is the state of a zone (NVMe Zoned Namespace Command Set Specification,
// Zone Descriptor, byte 1).
type ZoneState uint8

// States of zones.
const (
	ZoneEmpty        ZoneState = 0x1
	ZoneOpen         ZoneState = 0x2 // implicitly
	ZoneExplicitOpen ZoneState = 0x3
	ZoneClosed       ZoneState = 0x4
	ZoneReadOnly     ZoneState = 0xD
	ZoneFull         ZoneState = 0xE
	ZoneOffline      ZoneState = 0xF
)

// Zone is a sequential write required zone, in blocks of the namespace.
type Zone struct {
	Start    uint64
	Capacity uint64 // from Start on; behind it is nothing up to the next zone
	Pointer  uint64 // where the next write has to begin; of full zones the end of the capacity
	State    ZoneState
}

// writable tells whether writes are taken at the pointer.
func (z Zone) writable() bool {
	return z.State == ZoneEmpty || z.State == ZoneOpen || z.State == ZoneExplicitOpen || z.State == ZoneClosed
}

// readable is where data that was written ends; of zones whose pointer means
// nothing it is the start.
func (z Zone) readable() uint64 {
	if z.writable() || z.State == ZoneFull {
		return z.Pointer
	}
	return z.Start
}

const (
	zoneHeaderSize = 64
	zoneSize       = 64 // of a descriptor, in bytes
	// zonesAtATime is how many descriptors a report has room for.
	zonesAtATime = 255
	// zoneSequential is the only type of zone that there is (byte 0, bits 3:0).
	zoneSequential = 0x2
)

// parseZones parses a report of the zones from the one at start on, each of size
// blocks. The report may end before the buffer does.
func parseZones(b []byte, start, size uint64) ([]Zone, error) {
	const op = "parse report zones"
	if len(b) < zoneHeaderSize {
		return nil, opError(op, "", fmt.Errorf("%w: %d bytes", blocks.ErrShort, len(b)))
	}
	n := binary.LittleEndian.Uint64(b)
	b = b[zoneHeaderSize:]
	if n > uint64(len(b)/zoneSize) {
		return nil, opError(op, "", fmt.Errorf("%w: %d zones in %d bytes", blocks.ErrInvalid, n, len(b)))
	}
	zones := make([]Zone, 0, n)
	for ; n > 0; n, b, start = n-1, b[zoneSize:], start+size {
		z, err := parseZone(b[:zoneSize], size)
		if err == nil && z.Start != start {
			err = fmt.Errorf("%w: zone at %d instead of %d", blocks.ErrInvalid, z.Start, start)
		}
		if err != nil {
			return nil, opError(op, "", err)
		}
		zones = append(zones, z)
	}
	return zones, nil
}

// parseZone parses a Zone Descriptor.
func parseZone(b []byte, size uint64) (Zone, error) {
	z := Zone{
		Start:    binary.LittleEndian.Uint64(b[16:]),
		Capacity: binary.LittleEndian.Uint64(b[8:]),
		Pointer:  binary.LittleEndian.Uint64(b[24:]),
		State:    ZoneState(b[1] >> 4),
	}
	end := z.Start + z.Capacity
	switch {
	case b[0]&0xF != zoneSequential:
		return Zone{}, fmt.Errorf("%w: zone of type %#x", blocks.ErrInvalid, b[0]&0xF)
	case z.Capacity == 0 || z.Capacity > size || end < z.Start:
		return Zone{}, fmt.Errorf("%w: zone of %d blocks, %d of them usable", blocks.ErrInvalid, size, z.Capacity)
	case z.State == ZoneFull:
		z.Pointer = end // that of the descriptor means nothing
	case z.State == ZoneReadOnly || z.State == ZoneOffline:
		z.Pointer = z.Start
	case !z.writable() || z.Pointer < z.Start || z.Pointer > end || z.State == ZoneEmpty && z.Pointer != z.Start:
		return Zone{}, fmt.Errorf("%w: zone in state %#x with its pointer at %d", blocks.ErrInvalid, uint8(z.State), z.Pointer)
	}
	return z, nil
}

// readZones asks for the zones from the one at start on, as many as fit.
func (d *Device) readZones(ctx context.Context, start uint64) ([]Zone, error) {
	b := make([]byte, zoneHeaderSize+zonesAtATime*zoneSize)
	completion, err := d.Transport.IO(ctx, &Command{
		Opcode: OpZoneReceive,
		NSID:   d.NSID,
		CDW10:  uint32(start),
		CDW11:  uint32(start >> 32),
		CDW12:  uint32(len(b)/4 - 1), // dwords, counted from 0
		CDW13:  zonePartial,
		Data:   b,
	})
	if err == nil && completion.Status.Code() != StatusSuccess {
		err = completion.Status
	}
	if err != nil {
		return nil, opError("report zones", d.String(), err)
	}
	zones, err := parseZones(b, start, d.ZoneBlocks)
	if err == nil && len(zones) == 0 {
		err = opError("report zones", d.String(), fmt.Errorf("%w: no zone at %d", blocks.ErrInvalid, start))
	}
	return zones, err
}

// zoneMap has the zones that were asked for, by their start.
type zoneMap struct {
	device *Device
	zones  map[uint64]Zone
}

// at returns the zone that a block lies in.
func (m *zoneMap) at(ctx context.Context, lba uint64) (Zone, error) {
	start := lba - lba%m.device.ZoneBlocks
	if z, known := m.zones[start]; known {
		return z, nil
	}
	zones, err := m.device.readZones(ctx, start)
	if err != nil {
		return Zone{}, err
	}
	if m.zones == nil {
		m.zones = make(map[uint64]Zone)
	}
	for _, z := range zones {
		m.zones[z.Start] = z
	}
	return zones[0], nil
}

// misfit is a piece that no command is made for.
type misfit struct {
	blocks.Piece
	blocks.Outcome
}

func misfitOf(p blocks.Piece, reason string, err error) misfit {
	return misfit{p, blocks.Outcome{Action: blocks.ActionEmulate, Reason: reason, Err: err, Untouched: true}}
}

// sortOut tells pieces in the order of their destination apart: those that the zones
// of a namespace, as they are now, have to read and take, and the others. What follows
// one of the others in its zone is one, too: a zone is written without gaps.
func sortOut(ctx context.Context, d *Device, pieces []blocks.Piece) (fit []blocks.Piece, not []misfit, err error) {
	m := zoneMap{device: d}
	blocked := make(map[uint64]bool) // zones that take no more, by their start
	pointer := make(map[uint64]uint64)
	for _, p := range pieces {
		for p.Blocks > 0 {
			size := d.ZoneBlocks
			part := p.UpTo(min(p.Blocks, size-p.SrcLBA%size, size-p.DstLBA%size))
			p = p.From(part.Blocks)
			from, err := m.at(ctx, part.SrcLBA)
			if err != nil {
				return nil, nil, err
			}
			to, err := m.at(ctx, part.DstLBA)
			if err != nil {
				return nil, nil, err
			}
			if _, known := pointer[to.Start]; !known {
				pointer[to.Start] = to.Pointer
			}
			if blocked[to.Start] || !to.writable() || part.DstLBA != pointer[to.Start] || part.DstLBA+part.Blocks > to.Start+to.Capacity {
				blocked[to.Start] = true
				not = append(not, misfitOf(part, reasonPointer, ErrZone))
				continue
			}
			if end := from.readable(); part.SrcLBA+part.Blocks > end {
				blocked[to.Start] = true
				n := min(max(end, part.SrcLBA)-part.SrcLBA, part.Blocks)
				not = append(not, misfitOf(part.From(n), reasonUnwritten, ErrZone))
				part = part.UpTo(n)
			}
			if part.Blocks > 0 {
				pointer[to.Start] += part.Blocks
				fit = append(fit, part)
			}
		}
	}
	return fit, not, nil
}

// misfits takes those pieces out of a batch that zones do not take or have.
func (c *Copier) misfits(ctx context.Context, pieces []blocks.Piece) (fit []blocks.Piece, not []misfit) {
	if !c.dev.zoned() {
		return pieces, nil
	}
	fit, not, err := sortOut(ctx, c.dev, pieces)
	if err == nil {
		return fit, not
	}
	for _, p := range pieces {
		not = append(not, misfitOf(p, "zone:unknown", err))
	}
	return nil, not
}

// zoned tells whether the namespace is written in zones.
func (d *Device) zoned() bool { return d.ZoneBlocks > 0 }

// inZones makes failures the end of a batch: a zone takes nothing behind a gap. How much
// of a command that failed was written tells the write pointer; it is up to the caller to
// look there.
func inZones(o blocks.Outcome) blocks.Outcome {
	if o.Action == blocks.ActionEmulate {
		o.Action = blocks.ActionBackOff
	}
	return o
}
