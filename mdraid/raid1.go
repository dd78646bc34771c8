package mdraid

import "github.com/dmcopy/dmcopy/internal/raidmap"

// raid1 has a copy in each slot (drivers/md/raid1.c).
func raid1(f *facts) (raidmap.Geometry, error) {
	return raidmap.NewRaid1(f.disks, f.component)
}
