package raidmap

import (
	"slices"
	"sort"

	"github.com/dmcopy/dmcopy/remap"
)

// Layouts of a raid0 whose members differ in size (include/uapi/linux/raid/md_p.h
// and drivers/md/raid0.h, enum r0layout).
const (
	// Raid0Unset: the superblock does not tell.
	Raid0Unset = 0
	// raid0Original is how Linux before 3.14 chose the member of a chunk.
	raid0Original = 1
	// raid0Alternate is how Linux has done it from 3.14 on.
	raid0Alternate = 2
)

// Raid0 deals chunks to its members in turn (drivers/md/raid0.c). Where the
// smallest members end, a new zone begins on those that are larger.
type Raid0 struct {
	chunk    remap.Sector
	original bool
	zones    []zone
	sizes    []remap.Sector // by slot, in whole chunks
}

// zone is a part of the array that is striped over the same members.
type zone struct {
	// start and end are sectors of the array, below is where the zone begins
	// on each of its members.
	start, end, below remap.Sector
	slots             []int
}

// NewRaid0 makes a raid0 of members of the given sizes in sectors, by slot. The
// layout makes a difference, and must be told, if there is a second zone on
// more than one member.
func NewRaid0(chunk remap.Sector, sizes []remap.Sector, layout int) (*Raid0, error) {
	if chunk < 1 || chunk > remap.MaxSectors {
		return nil, fail("raid0", ErrGeometry, "chunks of %d sectors", chunk)
	}
	if err := checkDisks("raid0", len(sizes), 1); err != nil {
		return nil, err
	}
	g := &Raid0{chunk: chunk, original: layout == raid0Original}
	for _, size := range sizes {
		if err := checkSize("raid0", size); err != nil {
			return nil, err
		}
		if size < chunk {
			return nil, fail("raid0", ErrGeometry, "a member without a chunk")
		}
		g.sizes = append(g.sizes, size-size%chunk)
	}
	if err := g.makeZones(); err != nil {
		return nil, err
	}
	if len(g.zones) > 1 && len(g.zones[1].slots) > 1 && layout != raid0Original && layout != raid0Alternate {
		return nil, fail("raid0", ErrAmbiguous, "layout %d of members of different sizes", layout)
	}
	return g, nil
}

// makeZones does what create_strip_zones in raid0.c does.
func (g *Raid0) makeZones() error {
	ends := slices.Clone(g.sizes)
	slices.Sort(ends)
	below, start := remap.Sector(0), remap.Sector(0)
	for _, end := range slices.Compact(ends) {
		z := zone{start: start, below: below}
		for slot, size := range g.sizes {
			if size > below {
				z.slots = append(z.slots, slot)
			}
		}
		width := remap.Sector(len(z.slots))
		if end-below > (remap.MaxSectors-start)/width {
			return fail("raid0", ErrGeometry, "more than %d sectors", remap.MaxSectors)
		}
		z.end = start + (end-below)*width
		start, below = z.end, end
		g.zones = append(g.zones, z)
	}
	return nil
}

// Level implements [Geometry].
func (g *Raid0) Level() string { return "raid0" }

// Disks implements [Geometry].
func (g *Raid0) Disks() int { return len(g.sizes) }

// Size implements [Geometry].
func (g *Raid0) Size() remap.Sector { return g.zones[len(g.zones)-1].end }

// Reach implements [Geometry].
func (g *Raid0) Reach(slot int) remap.Sector { return g.sizes[slot] }

// At implements [Geometry].
func (g *Raid0) At(s, n remap.Sector) Run {
	z := &g.zones[0]
	if s >= z.end {
		z = &g.zones[sort.Search(len(g.zones), func(i int) bool { return g.zones[i].end > s })]
	}
	width := remap.Sector(len(z.slots))
	number, inside := (s-z.start)/g.chunk, s%g.chunk
	row, turn := number/width, number%width
	if g.original {
		turn = s / g.chunk % width // counted from the start of the array
	}
	return Run{
		Len:  min(n, g.chunk-inside),
		Spot: Spot{z.slots[turn], z.below + row*g.chunk + inside},
		P:    noSlot, Q: noSlot,
	}
}
