package dmtable

import (
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// coordinators are target types that share the first device of their line with other mapped
// devices, and see to it that none is in the way of another: thin volumes get their blocks
// from one pool (drivers/md/dm-thin.c), and what is written to an origin is kept for
// its snapshots before (drivers/md/dm-snap.c).
var coordinators = map[string]bool{typeThin: true, typeSnapshot: true, "snapshot-merge": true, "snapshot-origin": true}

// Coordinated lists the devices that the lines share so.
func (t *Table) Coordinated() (devs []remap.Dev) {
	for i := range t.Targets {
		if !coordinators[t.Targets[i].Type] {
			continue
		}
		var a args
		a.reset(t.Targets[i].Params)
		if dev := a.dev(); !dev.IsZero() && !slices.Contains(devs, dev) {
			devs = append(devs, dev)
		}
	}
	return devs
}
