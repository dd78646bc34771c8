package dmtable

import "github.com/dmcopy/dmcopy/remap"

// What a target needs besides its line is on disk, and somebody has to read it:
// tables are read without any I/O.

// ExceptionStore tells on which device the exceptions of a snapshot are;
// they go to Exceptions.
func (t *Target) ExceptionStore() (cow remap.Dev, ok bool) {
	if t.Type != typeSnapshot || t.Start != 0 || condenseSnapshot(t.Status) != snapshotWorks {
		return remap.Dev{}, false
	}
	var a args
	a.reset(t.Params)
	m := readSnapshot(&a)
	return m.cow, a.done() && !m.transient
}

// SnapshotUse is how full a snapshot is, in sectors.
type SnapshotUse struct {
	Origin      remap.Dev
	Chunk       remap.Sector
	Used, Total remap.Sector
}

// SnapshotUse tells how full a snapshot that works is (dm-snap.c, snapshot_status).
func (t *Target) SnapshotUse() (u SnapshotUse, ok bool) {
	if t.Type != typeSnapshot || condenseSnapshot(t.Status) != snapshotWorks {
		return u, false
	}
	var line, state args
	line.reset(t.Params)
	state.reset(t.Status)
	m := readSnapshot(&line)
	used, total := state.ratio()
	return SnapshotUse{m.origin, m.chunk, remap.Sector(used), remap.Sector(total)}, line.done()
}

// SnapshotLost tells whether the target is a snapshot that the kernel has given up, because
// its store was full or failed (dm-snap.c, snapshot_status).
func (t *Target) SnapshotLost() bool {
	return t.Type == typeSnapshot && (t.Status == "Invalid" || t.Status == "Overflow")
}

// SnapshotOrigin tells whose snapshots are written to before the target is.
func (t *Target) SnapshotOrigin() (origin remap.Dev, ok bool) {
	if t.Type != "snapshot-origin" {
		return remap.Dev{}, false
	}
	var a args
	a.reset(t.Params)
	origin = a.dev()
	return origin, a.done()
}

// ThinVolume tells by which number which pool knows a thin volume; what the
// metadata of the pool tells of it goes to Thin. Of an external origin the size
// is needed too.
func (t *Target) ThinVolume() (v ThinVolume, ok bool) {
	if t.Type != typeThin || condenseThin(t.Status) != thinWorks {
		return v, false
	}
	var a args
	a.reset(t.Params)
	m := readThin(&a)
	return ThinVolume{m.pool, m.id, m.origin, m.external}, a.done()
}

// ThinUse is how much of a thin volume that works is mapped, in sectors (dm-thin.c,
// thin_status).
func (t *Target) ThinUse() (pool remap.Dev, mapped remap.Sector, ok bool) {
	v, ok := t.ThinVolume()
	if !ok {
		return remap.Dev{}, 0, false
	}
	var a args
	a.reset(t.Status)
	return v.Pool, remap.Sector(a.big()), true
}

// ThinVolume is a thin volume in its pool.
type ThinVolume struct {
	Pool remap.Dev
	ID   uint32
	// Origin is set if External is.
	Origin   remap.Dev
	External bool
}

// Locks tells whether what the table maps for writing is true only as long as
// nobody uses the lock of the volume group: a snapshot of a thin volume that is
// taken meanwhile would share the blocks.
func (t *Table) Locks() bool {
	for i := range t.Targets {
		if t.Targets[i].Thin != nil {
			return true
		}
	}
	return false
}

// Granule is the unit in which a thin volume is given blocks, in sectors; 0 if
// the table has none that was read.
func (t *Table) Granule() remap.Sector {
	for i := range t.Targets {
		if thin := t.Targets[i].Thin; thin != nil {
			return thin.Map.BlockSize()
		}
	}
	return 0
}

// CopiesOnWrite tells whether a map gains entries without a change of the table.
func (t *Table) CopiesOnWrite() bool {
	for i := range t.Targets {
		if t.Targets[i].Exceptions != nil {
			return true
		}
	}
	return false
}
