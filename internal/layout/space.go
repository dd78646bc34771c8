package layout

import (
	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// SnapshotSpace is what is left of the store of a snapshot. Writes to its origin fill it: before
// a chunk of the origin is overwritten for the first time, the kernel copies it to the store
// (drivers/md/dm-snap.c, origin_map). So do writes to the snapshot itself. When the store is full,
// the snapshot is lost.
type SnapshotSpace struct {
	// Name is the snapshot, for people: "vg/snap".
	Name string
	// Itself: the snapshot is written to. Size is how much it shows.
	Itself bool
	Size   remap.Sector
	dmtable.SnapshotUse
}

// Free is how much of the store is left.
func (f *SnapshotSpace) Free() remap.Sector { return max(f.Total-f.Used, 0) }

// SnapshotSpaces lists the snapshots that writing to a device fills.
func (r *Reader) SnapshotSpaces(dev remap.Dev) (all []SnapshotSpace, err error) {
	err = r.mappedUnder(dev, func(dm *dmtable.Control, table *dmtable.Table) error {
		for i := range table.Targets {
			if use, ok := table.Targets[i].SnapshotUse(); ok {
				all = append(all, SnapshotSpace{table.Label(), true, table.Targets[i].Len, use})
			}
		}
		found, err := r.snapshotsOf(dm, table)
		all = append(all, found...)
		return err
	})
	return all, err
}

// LostSnapshots lists the snapshots, among a device and all below it, that are lost: nothing of them
// can be read or written any more.
func (r *Reader) LostSnapshots(dev remap.Dev) (names []string, err error) {
	err = r.mappedUnder(dev, func(_ *dmtable.Control, table *dmtable.Table) error {
		for i := range table.Targets {
			if table.Targets[i].SnapshotLost() {
				names = append(names, table.Label())
			}
		}
		return nil
	})
	return names, err
}

// PoolSpace is what is left of a thin pool.
type PoolSpace struct {
	// Pool is its name, for people.
	Pool string
	// Block is the unit in which volumes get room, Free what is left of Total.
	Block, Free, Total remap.Sector
	// Unmapped is how much of the volume has got none yet.
	Unmapped remap.Sector
}

// PoolSpaces tells what is left of the pools that writing to a device takes blocks of.
func (r *Reader) PoolSpaces(dev remap.Dev) (all []PoolSpace, err error) {
	err = r.mappedUnder(dev, func(dm *dmtable.Control, table *dmtable.Table) error {
		for i := range table.Targets {
			at, mapped, ok := table.Targets[i].ThinUse()
			if !ok {
				continue
			}
			pool, err := dm.Table(at)
			if err != nil {
				return err
			}
			shape, ok := pool.Pool()
			if !ok {
				continue
			}
			if status, err := dmtable.ParsePoolStatus(pool.Targets[0].Status); err == nil {
				used, total := remap.Sector(min(status.UsedBlocks, status.DataBlocks)), remap.Sector(status.DataBlocks)
				all = append(all, PoolSpace{pool.Label(), shape.Block, (total - used) * shape.Block, total * shape.Block, max(table.Targets[i].Len-mapped, 0)})
			}
		}
		return nil
	})
	return all, err
}

// mappedUnder visits a device and all below it that are mapped.
func (r *Reader) mappedUnder(dev remap.Dev, visit func(*dmtable.Control, *dmtable.Table) error) error {
	seen := make(map[remap.Dev]bool)
	for queue := []remap.Dev{dev}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		facts, err := r.fs.Facts(queue[0])
		if err != nil {
			return err
		}
		queue = append(queue, facts.Slaves...)
		if facts.Part != nil {
			queue = append(queue, facts.Part.Parent)
		}
		if facts.Kind != sysblock.DM {
			continue
		}
		dm, err := r.control()
		if err != nil {
			return err
		}
		table, err := dm.Table(facts.Dev)
		if err == nil {
			err = visit(dm, table)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshotsOf lists the snapshots of a mapped device that has any: they are made of what
// it is made of.
func (r *Reader) snapshotsOf(dm *dmtable.Control, table *dmtable.Table) (all []SnapshotSpace, err error) {
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
			space, ok, err := r.snapshotSpace(dm, holder, origin)
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, space)
			}
		}
	}
	return all, nil
}

// snapshotSpace tells whether a device is a snapshot of the origin.
func (r *Reader) snapshotSpace(dm *dmtable.Control, dev, origin remap.Dev) (SnapshotSpace, bool, error) {
	facts, err := r.fs.Facts(dev)
	if err != nil || facts.Kind != sysblock.DM {
		return SnapshotSpace{}, false, err
	}
	table, err := dm.Table(dev)
	if err != nil {
		return SnapshotSpace{}, false, err
	}
	for i := range table.Targets {
		if use, ok := table.Targets[i].SnapshotUse(); ok && use.Origin == origin {
			return SnapshotSpace{table.Label(), false, table.Targets[i].Len, use}, true, nil
		}
	}
	return SnapshotSpace{}, false, nil
}
