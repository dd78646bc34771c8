package dmtable

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/dmcopy/dmcopy/internal/raidmap"
	"github.com/dmcopy/dmcopy/remap"
)

const typeRaid = "raid"

// reasonRaidTail is for what lies behind the last whole chunk of an array.
const reasonRaidTail remap.Reason = "layer:raid-tail"

// raid is an array that md drives for device-mapper (drivers/md/dm-raid.c):
//
//	<type> <count> <chunk> [<options>…] <members> {<metadata dev|-> <dev|->}…
//
// The numbers of the line count members from 0. In front of the data of a member
// there is nothing, unless room was made for a reshape.
type raid struct {
	typ     string
	chunk   remap.Sector
	options raidOptions
	// meta and data are the devices in each slot, zero for missing ones.
	meta, data []remap.Dev

	array *raidmap.Array
	state raidState
}

// raidOptions are the options of the line that matter for where data is.
type raidOptions struct {
	// format, copies and layout, md's word for both, are those of raid10.
	format      string
	copies      int64
	layout      int64
	writeMostly map[int64]bool
	// moving: members are being added, removed or moved. Which of them are to be rebuilt
	// the line says as long as the table lives, so that the status is asked for that.
	moving bool
	// writeback: the journal may have what is not on the members yet.
	writeback bool
}

// Formats of raid10. At which distance far copies are, only the superblocks of
// the members tell for sure (raid10.c, calc_sectors).
const (
	raid10Near   = "near"
	raid10Far    = "far"
	raid10Offset = "offset"
)

// raidTypes are the types with md's level and layout (dm-raid.c, raid_types).
// raid4 keeps parity on the first member here, which md calls a layout of raid5.
var raidTypes = map[string]struct{ level, layout int64 }{
	"raid0": {0, 0}, "raid1": {1, 0}, "raid10": {10, 0},
	"raid4": {5, 4}, "raid5_n": {5, 5},
	"raid5_la": {5, 0}, "raid5_ra": {5, 1}, "raid5_ls": {5, 2}, "raid5_rs": {5, 3},
	"raid6_zr": {6, 8}, "raid6_nr": {6, 9}, "raid6_nc": {6, 10}, "raid6_n_6": {6, 5},
	"raid6_la_6": {6, 16}, "raid6_ra_6": {6, 17}, "raid6_ls_6": {6, 18}, "raid6_rs_6": {6, 19},
}

// SizesItself tells whether the device of a table may have another size than the table. An
// array has what md makes of the line: less than the table while a reshape that
// adds members is under way, which may take days (drivers/md/dm-raid.c,
// rs_set_capacity and raid_map). Nobody else changes the size of a device behind its table
// (drivers/md/dm.c, __bind).
func (t *Table) SizesItself() bool {
	return slices.ContainsFunc(t.Targets, func(t Target) bool { return t.Type == typeRaid })
}

func parseRaid(t *Target, a *args) mapping {
	m := readRaid(a)
	var ok bool
	m.state, ok = parseRaidStatus(t.Status)
	switch {
	case a.bad:
		return nil
	case t.Start != 0:
		return a.opaque(t, "begin")
	case !ok || !m.isOf(m.state):
		return a.opaque(t, "status")
	case m.options.moving || m.state.reshaping || m.state.offset != 0:
		return a.opaque(t, "reshape")
	case m.options.writeback || m.state.journal == "a" || m.state.journal == "D":
		return a.opaque(t, "journal")
	case m.state.health[0] != raidAlive && m.state.health[0] != raidSyncing:
		return &noted{a.opaque(t, "first-member"), m.notes()}
	case !m.state.stable():
		return &noted{a.opaque(t, "syncing"), m.notes()}
	}
	_, part, err := m.geometry(t.Len)
	if m.options.format == raid10Far && !t.RaidSuper.agrees(m, part) {
		return a.opaque(t, "far")
	}
	if err == nil {
		m.array, err = m.assemble(t.Len)
	}
	switch {
	case err != nil:
		a.reject()
		return nil
	case m.array.Geometry.Size() < t.Len && m.options.format == raid10Far:
		return a.opaque(t, "far")
	}
	return m
}

// readRaid reads the line.
func readRaid(a *args) *raid {
	m := &raid{typ: a.word()}
	if _, known := raidTypes[m.typ]; !known {
		a.reject()
	}
	count := a.number()
	m.chunk = a.sector()
	m.options = readRaidOptions(a, count-1)
	for n := a.number(); n > 0 && !a.bad; n-- {
		m.meta = append(m.meta, a.maybeDev()) // superblock and bitmap
		m.data = append(m.data, a.maybeDev())
	}
	return m
}

// readRaidOptions reads so many words of options (dm-raid.c, raid_status).
func readRaidOptions(a *args, count int64) raidOptions {
	o := raidOptions{format: raid10Near, copies: 2, writeMostly: make(map[int64]bool)}
	nearSets := false
	if count < 0 {
		a.reject()
	}
	for ; count > 0 && !a.bad; count-- {
		name := a.word()
		switch name {
		case "sync", "nosync":
			continue
		case "raid10_use_near_sets":
			nearSets = true
			continue
		}
		count-- // all others have a value
		switch name {
		case "daemon_sleep", "min_recovery_rate", "max_recovery_rate", "max_write_behind", "stripe_cache", "region_size":
			a.big()
		case "write_mostly":
			o.writeMostly[a.number()] = true
		case "raid10_copies":
			o.copies = a.number()
		case "raid10_format":
			o.format = a.oneOf(raid10Near, raid10Far, raid10Offset)
		case "rebuild":
			a.number()
		case "delta_disks", "data_offset":
			o.moving = true
			_, err := strconv.ParseInt(a.word(), 10, 64)
			a.must(err == nil)
		case "journal_dev":
			a.dev()
		case "journal_mode":
			o.writeback = a.oneOf("writethrough", "writeback") == "writeback"
		default:
			a.reject()
		}
		a.must(count >= 1)
	}
	a.must(1 <= o.copies && o.copies <= raidmap.MaxDisks)
	o.layout = raid10Layout(o.format, o.copies, nearSets)
	return o
}

// raid10Layout makes md's layout word (dm-raid.c, raid10_format_to_md_layout):
// near and far copies, whether far ones are in the next row, and whether they
// stay within sets of members.
func raid10Layout(format string, copies int64, nearSets bool) int64 {
	const nextRow, farSets = 1 << 16, 1 << 18
	if format == raid10Near {
		return 1<<8 | copies
	}
	layout := copies<<8 | 1
	if format == raid10Offset {
		layout |= nextRow
	}
	if !nearSets {
		layout |= farSets
	}
	return layout
}

// isOf tells whether the status is that of the same array. The status names the
// format of a raid10, but for near copies, which it calls by the first name that
// fits (dm-raid.c, get_raid_type_by_ll): "raid10".
func (m *raid) isOf(s raidState) bool {
	near := m.options.format == raid10Near && s.typ == "raid10"
	typ := m.typ
	if typ == "raid10" && !near {
		typ += "_" + m.options.format
	}
	return s.typ == typ && len(s.health) == len(m.data)
}

// assemble makes the array of the members that can be read.
func (m *raid) assemble(size remap.Sector) (*raidmap.Array, error) {
	geometry, part, err := m.geometry(size)
	if err != nil {
		return nil, err
	}
	members := make([]raidmap.Member, len(m.data))
	for i, dev := range m.data {
		if m.state.health[i] != raidAlive || dev.IsZero() {
			continue
		}
		members[i] = raidmap.Member{Dev: dev, Size: part, ReadableTo: remap.MaxSectors}
		if m.options.writeMostly[int64(i)] {
			members[i].ReadableTo = 0
		}
	}
	return raidmap.New(raidmap.Config{Layer: "dm:raid", Geometry: geometry, Members: members, Synced: remap.MaxSectors})
}

// geometry is that of an array of the given size, with what each member holds
// of it (dm-raid.c, rs_set_dev_and_array_sectors).
func (m *raid) geometry(size remap.Sector) (g raidmap.Geometry, part remap.Sector, err error) {
	typ := raidTypes[m.typ]
	disks := len(m.data)
	whole, parts := size, remap.Sector(disks)
	switch typ.level {
	case 1:
		parts = 1
	case 5:
		parts--
	case 6:
		parts -= 2
	case 10:
		whole *= remap.Sector(m.options.copies)
	}
	if size > remap.MaxSectors/raidmap.MaxDisks || parts < 1 || whole%parts != 0 {
		return nil, 0, raidmap.ErrGeometry
	}
	part = whole / parts
	switch typ.level {
	case 0:
		g, err = raidmap.NewRaid0(m.chunk, slices.Repeat([]remap.Sector{part}, disks), raidmap.Raid0Unset)
	case 1:
		g, err = raidmap.NewRaid1(disks, part)
	case 10:
		g, err = raidmap.NewRaid10(disks, m.options.layout, m.chunk, part)
	default:
		g, err = raidmap.NewParity(int(typ.level), typ.layout, disks, m.chunk, part)
	}
	return g, part, err
}

// place maps whole chunks. What the line has behind the last of them is no part of the
// array: the kernel makes an error of it (raid_map, bio_end_sector), or makes the device
// shorter (rs_set_capacity).
func (m *raid) place(op remap.Op, off, n remap.Sector) remap.Place {
	size := m.array.Geometry.Size()
	if off >= size {
		return noPlace("dm:raid", reasonRaidTail, n)
	}
	return m.array.Map(op, off, min(n, size-off))
}

func (m *raid) notes() (notes []string) {
	for i, dev := range m.data {
		switch health := m.state.health[i]; {
		case dev.IsZero() || health == '-':
			notes = append(notes, fmt.Sprintf("member %d of the array is missing", i))
		case health == raidSyncing:
			notes = append(notes, fmt.Sprintf("member %d (%s) of the array is not in sync", i, dev))
		case health != raidAlive:
			notes = append(notes, fmt.Sprintf("member %d (%s) of the array has failed", i, dev))
		}
	}
	return notes
}
