package raidmap

import "github.com/dmcopy/dmcopy/remap"

// Raid1 keeps a copy on each member (drivers/md/raid1.c).
type Raid1 struct {
	disks int
	size  remap.Sector
}

// NewRaid1 makes a raid1 of so many slots; size is what each member holds, in
// sectors.
func NewRaid1(disks int, size remap.Sector) (*Raid1, error) {
	if err := checkDisks("raid1", disks, 1); err != nil {
		return nil, err
	}
	if err := checkSize("raid1", size); err != nil {
		return nil, err
	}
	return &Raid1{disks, size}, nil
}

// Level implements [Geometry].
func (g *Raid1) Level() string { return "raid1" }

// Disks implements [Geometry].
func (g *Raid1) Disks() int { return g.disks }

// Size implements [Geometry].
func (g *Raid1) Size() remap.Sector { return g.size }

// Reach implements [Geometry].
func (g *Raid1) Reach(int) remap.Sector { return g.size }

// At implements [Geometry].
func (g *Raid1) At(s, n remap.Sector) Run {
	return Run{Len: n, Spot: Spot{0, s}, P: noSlot, Q: noSlot}
}

// Copies implements [Mirrored].
func (g *Raid1) Copies() int { return g.disks }

// Copy implements [Mirrored].
func (g *Raid1) Copy(s remap.Sector, i int) Spot { return Spot{i, s} }

// Together implements [Mirrored].
func (g *Raid1) Together(_, n remap.Sector) remap.Sector { return n }
