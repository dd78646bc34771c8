package resolver

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var snapshotKinds = []kind{
	{name: "snapshot/persistent", needs: []string{"snapshot", "snapshot-origin"}, trials: 3, build: func(b *bench) []*subject {
		return buildSnapshots(b, pick(b, "P", "PO"), inPlace)
	}},
	{name: "snapshot/transient", needs: []string{"snapshot", "snapshot-origin"}, build: func(b *bench) []*subject {
		return buildSnapshots(b, "N", opaque)
	}},
	{name: "snapshot/several", needs: []string{"snapshot", "snapshot-origin"}, build: func(b *bench) []*subject {
		return append(buildSnapshots(b, "P", inPlace), buildSnapshots(b, "P", inPlace)...)
	}},
	{name: "snapshot/merge", needs: []string{"snapshot-merge"}, build: buildMerge},
	{name: "origin", needs: []string{"snapshot-origin"}, trials: 2, build: buildOrigin},
}

// buildSnapshots makes a snapshot of an origin, and exceptions: the origin is
// written to, and the snapshot is.
func buildSnapshots(b *bench, store string, read answers) []*subject {
	n := b.between(2000, 6000, 8)
	real := b.mapped(fmt.Sprintf("0 %d linear %s", n, b.place(n)))
	b.fill(real)
	origin := b.mapped(fmt.Sprintf("0 %d snapshot-origin %s", n, real))
	chunk := pick(b, remap.Sector(8), 8, 16, 32, 128)
	// The smallest chunks fill several areas: 256 exceptions each.
	store = fmt.Sprintf("%s %s %d", b.part(b.zeroed(3*n+5000)), store, chunk)
	snap := b.mapped(fmt.Sprintf("0 %d snapshot %s %s", n, real, store))
	// The origin finds its snapshots when it is resumed.
	vm.Reload(b, origin, fmt.Sprintf("0 %d snapshot-origin %s", n, real))
	b.scribble(origin, 8)
	b.scribble(snap, 8)
	b.scribble(origin, 8)
	return []*subject{
		{path: snap, name: "snapshot", read: read, write: opaque, followed: true},
		{path: origin, name: "origin", read: inPlace, write: opaque, followed: true},
	}
}

// buildOrigin has no snapshots.
func buildOrigin(b *bench) []*subject {
	n := b.between(2000, 6000, 8)
	path := b.mapped(fmt.Sprintf("0 %d snapshot-origin %s", n, b.part(b.take(n))))
	return []*subject{{path: path, read: inPlace, write: dataParts, followed: true}}
}

// buildMerge gives back to the origin what its snapshot holds.
func buildMerge(b *bench) []*subject {
	n := b.between(2000, 6000, 8)
	real := b.mapped(fmt.Sprintf("0 %d linear %s", n, b.place(n)))
	b.fill(real)
	store := fmt.Sprintf("%s P 16", b.part(b.zeroed(2*n+5000)))
	snap := b.mapped(fmt.Sprintf("0 %d snapshot %s %s", n, real, store))
	b.scribble(snap, 8)
	vm.Reload(b, snap, fmt.Sprintf("0 %d snapshot-merge %s %s", n, real, store))
	return []*subject{{path: snap, read: opaque, write: opaque}}
}
