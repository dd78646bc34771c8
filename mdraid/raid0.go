package mdraid

import "github.com/dmcopy/dmcopy/internal/raidmap"

// raid0 stripes over members that may differ in size (drivers/md/raid0.c). If
// they do, the layout matters. An array that does not store one got it from the
// parameter default_layout of the module when it was assembled
// (create_strip_zones). What the parameter says today need not be what it said
// then: people set it to one value for one array and to the other for the next.
// So raidmap is left to refuse such an array.
func raid0(f *facts) (raidmap.Geometry, error) {
	return raidmap.NewRaid0(f.chunk, f.sizes(), int(f.layout))
}
