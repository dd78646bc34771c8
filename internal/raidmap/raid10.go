package raidmap

import "github.com/dmcopy/dmcopy/remap"

// Bits of the layout word of raid10 (drivers/md/raid10.c, setup_geo).
const (
	raid10Near     = 0xff
	raid10FarShift = 8
	raid10Offset   = 1 << 16
	raid10SetShift = 17
	// How far copies are spread: over all disks, or over sets of disks. Sets
	// of the first kind are not the ones that were meant; nobody creates them.
	raid10AllDisks = 0
	raid10Sets     = 2
)

// Raid10 deals chunks with their copies (drivers/md/raid10.c): near copies go
// to the next disks at the same place; far copies to a second part of each
// disk, or, with an offset, to the next row, shifted by one disk.
type Raid10 struct {
	pages
	disks     int64
	near, far int
	// offset: far copies are in the row below.
	offset bool
	// stride is the distance of far copies on a disk.
	stride remap.Sector
	// set is how many disks the far copies of a chunk rotate over; the last
	// set takes the disks that are left over.
	set, lastStart, lastSize int64
	size                     remap.Sector
	reach                    remap.Sector
}

// NewRaid10 makes a raid10 of so many slots; layout is md's layout word, size
// what each member holds, chunk and size in sectors.
func NewRaid10(disks int, layout int64, chunk, size remap.Sector) (*Raid10, error) {
	const level = "raid10"
	if err := checkDisks(level, disks, 2); err != nil {
		return nil, err
	}
	if err := checkSize(level, size); err != nil {
		return nil, err
	}
	p, err := wholePages(level, chunk)
	if err != nil {
		return nil, err
	}
	g := &Raid10{pages: p, disks: int64(disks)}
	if err := g.parse(layout); err != nil {
		return nil, err
	}
	g.lastStart = (g.disks/g.set - 1) * g.set
	g.lastSize = g.set + g.disks%g.set
	return g, g.measure(size)
}

// parse takes the layout word apart.
func (g *Raid10) parse(layout int64) error {
	const level = "raid10"
	mode := layout >> raid10SetShift
	if layout < 0 || mode != raid10AllDisks && mode != raid10Sets {
		return fail(level, ErrLayout, "%#x", layout)
	}
	g.near, g.far = int(layout&raid10Near), int(layout>>raid10FarShift&raid10Near)
	g.offset = layout&raid10Offset != 0
	copies := g.near * g.far
	if copies < 2 || int64(copies) > g.disks {
		return fail(level, ErrGeometry, "layout %#x on %d disks", layout, g.disks)
	}
	if g.near > 1 && g.far > 1 {
		return fail(level, ErrAmbiguous, "layout %#x: near and far copies at once", layout)
	}
	g.set = g.disks
	if mode == raid10Sets {
		g.set = int64(copies)
	}
	return nil
}

// measure does what calc_sectors in raid10.c does.
func (g *Raid10) measure(size remap.Sector) error {
	rows := int64(size>>g.shift) / int64(g.far)
	if rows > int64(remap.MaxSectors>>g.shift)/g.disks {
		return fail("raid10", ErrGeometry, "more than %d sectors", remap.MaxSectors)
	}
	chunks := rows * g.disks / int64(g.near)
	used := (chunks*int64(g.near*g.far) + g.disks - 1) / g.disks
	g.size = remap.Sector(chunks) << g.shift
	g.reach = remap.Sector(used) << g.shift
	g.stride = g.chunk
	if !g.offset {
		g.stride = remap.Sector(used/int64(g.far)) << g.shift
	}
	return nil
}

// Level implements [Geometry].
func (g *Raid10) Level() string { return "raid10" }

// Disks implements [Geometry].
func (g *Raid10) Disks() int { return int(g.disks) }

// Size implements [Geometry].
func (g *Raid10) Size() remap.Sector { return g.size }

// Reach implements [Geometry].
func (g *Raid10) Reach(int) remap.Sector { return g.reach }

// At implements [Geometry].
func (g *Raid10) At(s, n remap.Sector) Run {
	return Run{Len: g.Together(s, n), Spot: g.Copy(s, 0), P: noSlot, Q: noSlot}
}

// Together implements [Mirrored].
func (g *Raid10) Together(s, n remap.Sector) remap.Sector { return min(n, g.chunk-s&(g.chunk-1)) }

// Copies implements [Mirrored].
func (g *Raid10) Copies() int { return g.near * g.far }

// Copy implements [Mirrored]. Either all copies are near, or all are far
// (raid10.c, __raid10_find_phys).
func (g *Raid10) Copy(s remap.Sector, i int) Spot {
	number, inside := g.split(s)
	at := number * int64(g.near)
	if g.near > 1 {
		at += int64(i)
		i = 0
	}
	row := at / g.disks
	disk := at - row*g.disks
	if g.offset {
		row *= int64(g.far)
	}
	return Spot{
		Slot:  int(g.shifted(disk, int64(i))),
		Start: remap.Sector(row)<<g.shift + inside + remap.Sector(i)*g.stride,
	}
}

// shifted is the disk of far copy i of a chunk whose first copy is on disk.
func (g *Raid10) shifted(disk, i int64) int64 {
	start, size := int64(0), g.set
	switch {
	case g.set == g.disks:
	case g.disks%g.set != 0 && disk >= g.lastStart:
		start, size = g.lastStart, g.lastSize
	default:
		start = disk - disk%g.set
	}
	if disk += i; disk >= start+size { // i is less than size
		disk -= size
	}
	return disk
}
