package blockio

import (
	"errors"
	"fmt"
)

// errZones is returned for a report of zones that makes no sense.
var errZones = errors.New("report of zones makes no sense")

// Zone is a zone of a zoned block device. All numbers are bytes.
type Zone struct {
	Start, Len int64
	// Capacity is how much of it can be used, from Start on.
	Capacity int64
	// Sequential: the zone takes writes at Pointer only.
	Sequential bool
	// Pointer is where the next write has to begin, if Writable; behind the capacity
	// of a full zone.
	Pointer  int64
	Writable bool
}

const (
	// hasCapacity is BLK_ZONE_REP_CAPACITY (Linux 5.9).
	hasCapacity = 1

	zoneConventional = 1
	zoneSequential   = 2
	zonePreferred    = 3 // of host-aware disks

	condEmpty  = 0x1
	condClosed = 0x4 // and the two kinds of open before it
	condFull   = 0xE
)

// Zones are the zones that [off, off+n) lies in (BLKREPORTZONE).
func (f *File) Zones(off, n int64) ([]Zone, error) {
	var zones []Zone
	for end := off + n; off < end; {
		var report zoneReport
		report.Sector, report.Zones = uint64(off/512), zonesAtATime
		if err := f.do("BLKREPORTZONE", func(fd int) error { return ioctlReportZone(fd, &report) }); err != nil {
			return nil, err
		}
		some, err := parseZones(&report.zoneHeader, report.List[:], off)
		if err != nil {
			return nil, &Error{"BLKREPORTZONE", f.path, err}
		}
		for _, z := range some {
			if z.Start < end {
				zones = append(zones, z)
			}
		}
		last := some[len(some)-1]
		off = last.Start + last.Len
	}
	return zones, nil
}

// parseZones takes a report of the zones from the one on that off lies in.
func parseZones(report *zoneHeader, descriptors []zoneDescriptor, off int64) ([]Zone, error) {
	if report.Zones == 0 || int(report.Zones) > len(descriptors) {
		return nil, fmt.Errorf("%w: %d zones from byte %d on", errZones, report.Zones, off)
	}
	var zones []Zone
	for i, d := range descriptors[:report.Zones] {
		z, err := parseZone(&d, report.Flags&hasCapacity != 0)
		if err != nil {
			return nil, err
		}
		if i == 0 && (off < z.Start || off >= z.Start+z.Len) || i > 0 && z.Start != zones[i-1].Start+zones[i-1].Len {
			return nil, fmt.Errorf("%w: a zone begins at byte %d", errZones, z.Start)
		}
		zones = append(zones, z)
	}
	return zones, nil
}

func parseZone(d *zoneDescriptor, capacity bool) (Zone, error) {
	const most = 1 << 53 // sectors, so that bytes fit
	if d.Start > most || d.Len == 0 || d.Len > most || capacity && (d.Capacity == 0 || d.Capacity > d.Len) {
		return Zone{}, fmt.Errorf("%w: zone of %d sectors at %d, of which %d can be used", errZones, d.Len, d.Start, d.Capacity)
	}
	z := Zone{Start: int64(d.Start) * 512, Len: int64(d.Len) * 512}
	z.Capacity = z.Len
	if capacity {
		z.Capacity = int64(d.Capacity) * 512
	}
	switch d.Type {
	case zoneConventional, zonePreferred:
		z.Writable = true
		return z, nil
	case zoneSequential:
		z.Sequential = true
	default:
		return Zone{}, fmt.Errorf("%w: zone of type %d at sector %d", errZones, d.Type, d.Start)
	}
	end := z.Start + z.Capacity
	switch {
	case d.Cond == condFull:
		z.Pointer = end
	case d.Cond >= condEmpty && d.Cond <= condClosed:
		z.Writable = true
		if d.Pointer < d.Start || d.Pointer > d.Start+d.Len || int64(d.Pointer)*512 > end || d.Cond == condEmpty && d.Pointer != d.Start {
			return Zone{}, fmt.Errorf("%w: pointer of the zone at sector %d is %d", errZones, d.Start, d.Pointer)
		}
		z.Pointer = int64(d.Pointer) * 512
	default: // read only, offline, or a state that nobody knows yet
		z.Pointer = z.Start
	}
	return z, nil
}
