package fakestack

import (
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Thin is a volume whose blocks are taken from a pool when they are first written,
// the last of the pool first. They hold what the pool held there, as those of pools do
// that do not zero them. It shows those that it had when it was renewed.
type Thin struct {
	Pool Place
	// Block is the size of a block, and Blocks how many the pool has.
	Block, Blocks remap.Sector

	at    map[remap.Sector]remap.Sector
	shown map[remap.Sector]remap.Sector
	used  remap.Sector // blocks of the pool, from its end on
}

// next takes a block of the pool.
func (t *Thin) next() remap.Sector {
	t.used++
	return t.Blocks - t.used
}

func (t *Thin) bio(write bool, off remap.Sector) bio {
	block, inside := off/t.Block, off%t.Block
	at, mapped := t.at[block]
	if !mapped && !write {
		return bio{zero: true}
	}
	if !mapped {
		if remap.Sector(len(t.at)) == t.Blocks {
			return bio{err: unix.ENOSPC}
		}
		if t.at == nil {
			t.at = make(map[remap.Sector]remap.Sector)
		}
		at = t.next()
		t.at[block] = at
	}
	return bio{to: []Place{t.Pool.plus(at*t.Block + inside)}}
}

// line tells of what is shown: another metadata snapshot is another layout.
func (t *Thin) line() (string, string) {
	return "fake-thin", fmt.Sprintf("%s %d %v", t.Pool.Dev, t.Block, t.shown)
}

// Mapped is how many blocks the volume has.
func (m *Machine) Mapped(t *Thin) remap.Sector {
	m.mu.Lock()
	defer m.mu.Unlock()
	return remap.Sector(len(t.at))
}

func (t *Thin) below() []remap.Dev { return []remap.Dev{t.Pool.Dev} }

func (t *Thin) freeze() mapping {
	now := Thin{Pool: t.Pool, Block: t.Block, shown: maps.Clone(t.shown)}
	return now.place
}

func (t *Thin) place(op remap.Op, off, n remap.Sector) remap.Place {
	block, inside := off/t.Block, off%t.Block
	n = min(n, t.Block-inside)
	at, mapped := t.shown[block]
	switch {
	case mapped:
		to := t.Pool.plus(at*t.Block + inside)
		return remap.Place{Len: n, Kind: remap.Data, Leg: remap.Leg{Dev: to.Dev, Start: to.Start, Readable: true}, Layer: "dm:thin"}
	case op == remap.Write:
		return remap.Place{Len: n, Kind: remap.Opaque, Reason: "layer:thin-unmapped", Layer: "dm:thin", Blank: t.Block}
	}
	return remap.Place{Len: n, Kind: remap.Zero, Layer: "dm:thin"}
}

// granule is the block of thin volumes in the table.
func (t table) granule() remap.Sector {
	for _, seg := range t {
		if thin, ok := seg.Target.(*Thin); ok {
			return thin.Block
		}
	}
	return 0
}

// Renew implements machine.Layout.
func (m *Machine) Renew() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.devices {
		for _, seg := range d.table {
			if thin, ok := seg.Target.(*Thin); ok {
				thin.shown = maps.Clone(thin.at)
			}
		}
	}
	return nil
}
