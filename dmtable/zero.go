package dmtable

import "github.com/dmcopy/dmcopy/remap"

// zero reads as zeroes and drops what is written (drivers/md/dm-zero.c). Its
// line is empty. Both sides are of kind Zero; that nothing can be copied onto
// it is for the copy to refuse.
type zero struct{}

func parseZero(*Target, *args) mapping { return zero{} }

func (zero) place(_ remap.Op, _, n remap.Sector) remap.Place {
	return remap.Place{Len: n, Kind: remap.Zero, Layer: "dm:zero"}
}
