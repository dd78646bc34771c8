package mdraid

import (
	"github.com/dmcopy/dmcopy/internal/raidmap"
	"github.com/dmcopy/dmcopy/remap"
)

// linear puts members one behind the other (drivers/md/md-linear.c). sysfs cuts
// their sizes to KiB; what is lost shows as a capacity that does not add up.
func linear(f *facts) (raidmap.Geometry, error) {
	return raidmap.NewLinear(f.chunk, f.sizes())
}

// sizes are those of the members, by slot, 0 for one that is missing.
func (f *facts) sizes() []remap.Sector {
	sizes := make([]remap.Sector, len(f.slots))
	for i, s := range f.slots {
		if s.member.present() {
			sizes[i] = s.member.size
		}
	}
	return sizes
}
