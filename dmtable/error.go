package dmtable

import "github.com/dmcopy/dmcopy/remap"

// fails is a target that fails all I/O (drivers/md/dm-target.c, error_target).
// Its line is empty, even if it was created with a device.
type fails struct{}

func parseError(*Target, *args) mapping { return fails{} }

func (fails) place(_ remap.Op, _, n remap.Sector) remap.Place {
	return remap.Place{Len: n, Kind: remap.Error, Reason: remap.ReasonErrorTarget, Layer: "dm:error"}
}
