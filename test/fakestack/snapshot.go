package fakestack

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Snapshot is the frozen content of an origin: chunks of the origin that were
// written since are read from the cow (drivers/md/dm-snap.c).
type Snapshot struct {
	Origin, Cow Place
	Chunk       remap.Sector
	// Room is how many chunks the cow holds. When one more is needed, the
	// snapshot becomes invalid, and the origin is written nevertheless.
	Room remap.Sector
	// Loud makes it a change of layout that the snapshot becomes invalid.
	Loud bool

	exceptions map[remap.Sector]remap.Sector // chunks of the cow
	invalid    bool
}

// Exceptions tells how many chunks have been written since.
func (m *Machine) Exceptions(s *Snapshot) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(s.exceptions)
}

// Invalid tells whether the snapshot has become invalid.
func (m *Machine) Invalid(s *Snapshot) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.invalid
}

func (t *Snapshot) bio(write bool, off remap.Sector) bio {
	switch chunk, inside := off/t.Chunk, off%t.Chunk; {
	case t.invalid:
		return bio{err: unix.EIO}
	case write:
		return bio{err: unix.EROFS}
	default:
		if at, moved := t.exceptions[chunk]; moved {
			return bio{to: []Place{t.Cow.plus(at*t.Chunk + inside)}}
		}
		return bio{to: []Place{t.Origin.plus(off)}}
	}
}

// line has no exceptions in it: they are no change of layout.
func (t *Snapshot) line() (string, string) {
	line := fmt.Sprintf("%s %s P %d", t.Origin.Dev, t.Cow.Dev, t.Chunk)
	if t.Loud && t.invalid {
		line += " Invalid"
	}
	return "fake-snapshot", line
}

func (t *Snapshot) below() []remap.Dev {
	return Striped{Legs: []Place{t.Origin, t.Cow}}.below()
}

func (t *Snapshot) freeze() mapping {
	now := *t
	now.exceptions = make(map[remap.Sector]remap.Sector, len(t.exceptions))
	for chunk, at := range t.exceptions {
		now.exceptions[chunk] = at
	}
	return now.place
}

func (t *Snapshot) place(op remap.Op, off, n remap.Sector) remap.Place {
	n = min(n, t.Chunk-off%t.Chunk)
	b := t.bio(op == remap.Write, off)
	if b.err != nil {
		return remap.Place{Len: n, Kind: remap.Opaque, Reason: "layer:snapshot", Layer: "dm:snapshot"}
	}
	return remap.Place{
		Len: n, Kind: remap.Data, Leg: remap.Leg{Dev: b.to[0].Dev, Start: b.to[0].Start, Readable: true}, Layer: "dm:snapshot",
	}
}

// preserve moves a chunk of the origin, in its sectors, out of the way of a
// write to it. The exception is there before the origin is written
// (pending_complete).
func (m *Machine) preserve(on medium, t *Snapshot, s remap.Sector) {
	chunk := s / t.Chunk
	if _, moved := t.exceptions[chunk]; moved || t.invalid {
		return
	}
	at := remap.Sector(len(t.exceptions))
	if at == t.Room {
		t.invalid = true
		return
	}
	data := make([]byte, sectorSize)
	for i := range t.Chunk {
		from, to := t.Origin.plus(chunk*t.Chunk+i), t.Cow.plus(at*t.Chunk+i)
		if m.read(on, from.Dev, from.Start, data) == nil { // the last chunk can be short
			m.write(on, to.Dev, to.Start, data)
		}
	}
	if t.exceptions == nil {
		t.exceptions = make(map[remap.Sector]remap.Sector)
	}
	t.exceptions[chunk] = at
}

// Origin keeps its snapshots as it was when they were made. Like them it is the
// only segment of its device: chunks are counted from there.
type Origin struct {
	Place
	Snapshots []*Snapshot
}

func (t Origin) bio(write bool, off remap.Sector) bio {
	b := bio{to: []Place{t.plus(off)}}
	if write {
		b.cow = t.Snapshots
	}
	return b
}
func (t Origin) line() (string, string) { return "snapshot-origin", t.Dev.String() }
func (t Origin) below() []remap.Dev     { return []remap.Dev{t.Dev} }
