package mdraid

import "github.com/dmcopy/dmcopy/internal/raidmap"

// levels are the personalities that are mapped, by what the file level says.
// Every other one is opaque.
var levels = map[string]level{
	"linear": linear,
	"raid0":  raid0,
	"raid1":  raid1,
	"raid4":  parity(4),
	"raid5":  parity(5),
	"raid6":  parity(6),
	"raid10": raid10,
}

// A level makes the geometry of what an array says of itself.
type level func(f *facts) (raidmap.Geometry, error)
