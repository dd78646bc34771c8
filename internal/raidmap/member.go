package raidmap

import (
	"slices"
	"sort"

	"github.com/dmcopy/dmcopy/remap"
)

// Member is the device in a slot. The zero Member stands for one that is
// missing.
type Member struct {
	Dev remap.Dev
	// Offset is where the array's data begins on the device.
	Offset remap.Sector
	// Size is how many sectors from Offset on the array may use.
	Size remap.Sector
	// ReadableTo: sectors from here on must not be read, because they have not
	// been written yet. It counts from Offset. 0 for a member that must not be
	// read at all, [remap.MaxSectors] for one that is whole.
	ReadableTo remap.Sector
	// Bad are runs that must not be read. They count from Offset, are in
	// order and do not overlap.
	Bad []Bad
	// Replacement is the device that the member is being replaced with, zero for
	// none; it is written like the member, and not read.
	Replacement       remap.Dev
	ReplacementOffset remap.Sector
}

// Bad is a run of sectors.
type Bad struct {
	Start, Len remap.Sector
}

func (b Bad) end() remap.Sector { return b.Start + b.Len }

// missing tells whether nothing is in the slot.
func (m *Member) missing() bool { return m.Dev.IsZero() }

// check tells whether the member can be that of a geometry that uses so many
// sectors of it.
func (m *Member) check(level string, slot int, reach remap.Sector) error {
	switch {
	case m.missing():
		return nil
	case m.Offset < 0 || m.Offset > remap.MaxSectors-reach || m.ReplacementOffset < 0 || m.ReplacementOffset > remap.MaxSectors-reach:
		return fail(level, errMember, "slot %d begins at sector %d, its replacement at %d", slot, m.Offset, m.ReplacementOffset)
	case m.Size < reach:
		return fail(level, errMember, "slot %d has %d of %d sectors", slot, m.Size, reach)
	case m.ReadableTo < 0 || m.ReadableTo > remap.MaxSectors:
		return fail(level, errMember, "slot %d can be read up to sector %d", slot, m.ReadableTo)
	}
	end := remap.Sector(0)
	for _, b := range m.Bad {
		if b.Start < end || b.Len < 1 || b.Len > remap.MaxSectors || b.Start > remap.MaxSectors-b.Len {
			return fail(level, errMember, "slot %d has bad sectors [%d,+%d)", slot, b.Start, b.Len)
		}
		end = b.end()
	}
	return nil
}

// readable tells whether sector p of the member may be read, and for how many
// of n sectors that holds.
func (m *Member) readable(p, n remap.Sector) (ok bool, length remap.Sector) {
	if m.missing() || p >= m.ReadableTo {
		return false, n
	}
	n = min(n, m.ReadableTo-p)
	if len(m.Bad) == 0 {
		return true, n
	}
	i := sort.Search(len(m.Bad), func(i int) bool { return m.Bad[i].end() > p })
	switch {
	case i == len(m.Bad):
		return true, n
	case m.Bad[i].Start <= p:
		return false, min(n, m.Bad[i].end()-p)
	}
	return true, min(n, m.Bad[i].Start-p)
}

// clone copies what a caller could change.
func (m Member) clone() Member {
	m.Bad = slices.Clone(m.Bad)
	return m
}
