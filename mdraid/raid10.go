package mdraid

import "github.com/dmcopy/dmcopy/internal/raidmap"

// raid10 deals copies by its layout word (drivers/md/raid10.c). How far apart
// far copies are follows from the size of the members.
func raid10(f *facts) (raidmap.Geometry, error) {
	return raidmap.NewRaid10(f.disks, f.layout, f.chunk, f.component)
}
