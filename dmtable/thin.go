package dmtable

import (
	"github.com/dmcopy/dmcopy/dmtable/thinmeta"
	"github.com/dmcopy/dmcopy/remap"
)

const typeThin = "thin"

// Thin is what was read of a thin volume in the metadata of its pool.
type Thin struct {
	Map *thinmeta.Map `json:"map"`
	// Root is the block of the held metadata snapshot that it was read from.
	Root uint64 `json:"root"`
	// External is the size of the external origin, in sectors.
	External remap.Sector `json:"external,omitempty"`
}

// valid tells whether a stored value can be one that was read.
func (t *Thin) valid() bool {
	return t.Map != nil && t.Map.BlockSize() >= minPoolBlock && t.External >= 0 && t.External <= remap.MaxSectors
}

// thin is a volume whose blocks live anywhere in a pool (drivers/md/dm-thin.c):
//
//	<pool dev> <device id> [<external origin dev>]
//
// What is not mapped reads as the external origin and, where there is none, as
// zeroes; the first write to it maps it.
type thin struct {
	pool, origin remap.Dev
	id           uint32
	external     bool
	begin        remap.Sector // of the line, on the volume
	read         *Thin
}

// maxThin is the largest number of a volume (dm-thin.c, MAX_DEV_ID).
const maxThin = 1<<24 - 1

func readThin(a *args) *thin {
	m := &thin{pool: a.dev()}
	id := a.number()
	a.must(id <= maxThin)
	m.id = uint32(id)
	if m.external = a.more(); m.external {
		m.origin = a.dev()
	}
	return m
}

func parseThin(t *Target, a *args) mapping {
	m := readThin(a)
	m.read, m.begin = t.Thin, t.Start
	switch {
	case condenseThin(t.Status) != thinWorks:
		return a.opaque(t, "failed")
	case m.read == nil:
		return a.opaque(t, "unread")
	}
	return m
}

// thinWorks stands for the status of a volume that works: "<mapped sectors>
// <highest mapped sector|->", which grows all the time.
const thinWorks = "works"

func condenseThin(status string) string {
	var a args
	a.reset(status)
	a.big()
	if a.rest == "-" {
		a.word()
	} else {
		a.big()
	}
	if !a.done() {
		return status
	}
	return thinWorks
}

// place goes by way of the pool, as the kernel does (remap_to_pool).
func (m *thin) place(op remap.Op, off, n remap.Sector) remap.Place {
	size := m.read.Map.BlockSize()
	block, inside := off/size, off%size
	at, run, mapped, shared := m.read.Map.Find(uint64(block))
	if left := uint64((n + inside + size - 1) / size); run < left {
		n = min(n, remap.Sector(run)*size-inside)
	}
	switch {
	case mapped && shared && op == remap.Write:
		return noPlace("dm:thin", "layer:thin-shared", n)
	case mapped:
		return data("dm:thin", m.pool, remap.Sector(at)*size+inside, n)
	case op == remap.Write:
		p := noPlace("dm:thin", "layer:thin-unmapped", n)
		if !m.external && m.begin%size == 0 {
			// A pool that does not zero new blocks (skip_block_zeroing) shows what is left
			// of one that is written in part, so that only whole ones stay what they are.
			p.Blank = size
		}
		return p
	case m.external && off < m.read.External:
		return data("dm:thin", m.origin, off, min(n, m.read.External-off))
	}
	return remap.Place{Len: n, Kind: remap.Zero, Layer: "dm:thin"}
}
