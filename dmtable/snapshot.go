package dmtable

import (
	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/remap"
)

const typeSnapshot = "snapshot"

// snapshotFeatures are the optional words of a snapshot's line (dm-snap.c,
// snapshot_status).
var snapshotFeatures = map[string]bool{"discard_zeroes_cow": true, "discard_passdown_origin": true}

// snapshot is what was on another device at some time (drivers/md/dm-snap.c):
//
//	<origin dev> <copy-on-write dev> <P|PO|N> <chunk size> [<count> <features>…]
//
// It does not subtract the start of its line (snapshot_map). What was written to
// the origin since, or to the snapshot, is in chunks of the copy-on-write device:
// the exceptions. Those of a transient snapshot (N) are in memory only.
type snapshot struct {
	origin, cow remap.Dev
	chunk       remap.Sector
	transient   bool
	store       *exstore.Store
}

// readSnapshot reads the line without regard to the state of the snapshot.
func readSnapshot(a *args) *snapshot {
	m := &snapshot{origin: a.dev(), cow: a.dev()}
	m.transient = a.oneOf("P", "PO", "N") == "N"
	m.chunk = a.sector()
	a.flags(snapshotFeatures)
	return m
}

func parseSnapshot(t *Target, a *args) mapping {
	m := readSnapshot(a)
	m.store = t.Exceptions
	switch {
	case t.Start != 0:
		return a.opaque(t, "begin")
	case m.transient:
		return a.opaque(t, "transient")
	case condenseSnapshot(t.Status) != snapshotWorks:
		return a.opaque(t, "invalid")
	case m.store == nil:
		return a.opaque(t, "unread")
	case m.store.ChunkSize() != m.chunk:
		return a.opaque(t, "unparsed")
	}
	return m
}

// snapshotWorks stands for the status of a snapshot that is neither invalid nor
// full: "<allocated>/<total> <metadata>", which grows all the time.
const snapshotWorks = "works"

func condenseSnapshot(status string) string {
	var a args
	a.reset(status)
	a.ratio()
	if a.big(); !a.done() {
		return status
	}
	return snapshotWorks
}

func (m *snapshot) place(op remap.Op, off, n remap.Sector) remap.Place {
	if op == remap.Write {
		return noPlace("dm:snapshot", "layer:snapshot-write", n)
	}
	chunk, inside := off/m.chunk, off%m.chunk
	at, run, excepted := m.store.Find(uint64(chunk))
	if left := uint64((n + inside + m.chunk - 1) / m.chunk); run < left {
		n = min(n, remap.Sector(run)*m.chunk-inside)
	}
	if excepted {
		return data("dm:snapshot", m.cow, remap.Sector(at)*m.chunk+inside, n)
	}
	return data("dm:snapshot", m.origin, off, n)
}
