package raidmap

import (
	"sort"

	"github.com/dmcopy/dmcopy/remap"
)

// Linear puts its members one behind the other (drivers/md/md-linear.c).
type Linear struct {
	// ends holds, by slot, the first sector of the array behind the member.
	ends []remap.Sector
}

// NewLinear makes a linear array of members of the given sizes in sectors, by
// slot. A chunk that is not 0 is what sizes are rounded down to.
func NewLinear(chunk remap.Sector, sizes []remap.Sector) (*Linear, error) {
	if chunk < 0 {
		return nil, fail("linear", ErrGeometry, "chunks of %d sectors", chunk)
	}
	if err := checkDisks("linear", len(sizes), 1); err != nil {
		return nil, err
	}
	g := &Linear{ends: make([]remap.Sector, len(sizes))}
	end := remap.Sector(0)
	for i, size := range sizes {
		if err := checkSize("linear", size); err != nil {
			return nil, err
		}
		if chunk > 0 {
			size -= size % chunk
		}
		if size > remap.MaxSectors-end {
			return nil, fail("linear", ErrGeometry, "more than %d sectors", remap.MaxSectors)
		}
		end += size
		g.ends[i] = end
	}
	return g, nil
}

// Level implements [Geometry].
func (g *Linear) Level() string { return "linear" }

// Disks implements [Geometry].
func (g *Linear) Disks() int { return len(g.ends) }

// Size implements [Geometry].
func (g *Linear) Size() remap.Sector { return g.ends[len(g.ends)-1] }

// Reach implements [Geometry].
func (g *Linear) Reach(slot int) remap.Sector { return g.ends[slot] - g.start(slot) }

func (g *Linear) start(slot int) remap.Sector {
	if slot == 0 {
		return 0
	}
	return g.ends[slot-1]
}

// At implements [Geometry].
func (g *Linear) At(s, n remap.Sector) Run {
	slot := sort.Search(len(g.ends), func(i int) bool { return g.ends[i] > s })
	return Run{Len: min(n, g.ends[slot]-s), Spot: Spot{slot, s - g.start(slot)}, P: noSlot, Q: noSlot}
}
