package snapshot

import (
	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/sysblock"
)

// Filling is a snapshot that a write to its origin fills: before a chunk of the origin is
// overwritten for the first time, the kernel copies it to the store of the snapshot
// (drivers/md/dm-snap.c, origin_map). One that is full is lost.
type Filling struct {
	// Name is the snapshot, for people: "vg/snap".
	Name string
	dmtable.SnapshotUse
}

// Free is how much of the store is left.
func (f *Filling) Free() remap.Sector { return max(f.Total-f.Used, 0) }

// Fillings lists the snapshots that writing to a device fills.
func (r *Reader) Fillings(dev remap.Dev) ([]Filling, error) {
	var all []Filling
	seen := make(map[remap.Dev]bool)
	for queue := []remap.Dev{dev}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		facts, err := r.fs.Facts(queue[0])
		if err != nil {
			return nil, err
		}
		queue = append(queue, facts.Slaves...)
		if facts.Part != nil {
			queue = append(queue, facts.Part.Parent)
		}
		if facts.Kind != sysblock.DM {
			continue
		}
		found, err := r.snapshotsOf(facts)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// snapshotsOf lists the snapshots of a mapped device that has any: they are made of what
// it is made of.
func (r *Reader) snapshotsOf(facts *sysblock.Facts) (all []Filling, err error) {
	dm, err := r.control()
	if err != nil {
		return nil, err
	}
	table, err := dm.Table(facts.Dev)
	if err != nil {
		return nil, err
	}
	for i := range table.Targets {
		origin, ok := table.Targets[i].SnapshotOrigin()
		if !ok {
			continue
		}
		below, err := r.fs.Facts(origin)
		if err != nil {
			return nil, err
		}
		for _, holder := range below.Holders {
			filling, ok, err := r.filling(dm, holder, origin)
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, filling)
			}
		}
	}
	return all, nil
}

// filling tells whether a device is a snapshot of the origin.
func (r *Reader) filling(dm *dmtable.Control, dev, origin remap.Dev) (Filling, bool, error) {
	facts, err := r.fs.Facts(dev)
	if err != nil || facts.Kind != sysblock.DM {
		return Filling{}, false, err
	}
	table, err := dm.Table(dev)
	if err != nil {
		return Filling{}, false, err
	}
	for i := range table.Targets {
		if use, ok := table.Targets[i].SnapshotUse(); ok && use.Origin == origin {
			return Filling{table.Label(), use}, true, nil
		}
	}
	return Filling{}, false, nil
}
