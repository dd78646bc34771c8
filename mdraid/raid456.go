package mdraid

import "github.com/dmcopy/dmcopy/internal/raidmap"

// parity is a level with parity (drivers/md/raid5.c).
func parity(number int) level {
	return func(f *facts) (raidmap.Geometry, error) {
		return raidmap.NewParity(number, f.layout, f.disks, f.chunk, f.component)
	}
}
