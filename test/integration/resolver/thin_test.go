package resolver

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var thinKinds = []kind{
	{name: "thin/volume", needs: []string{"thin", "thin-pool"}, trials: 3, build: buildThin},
	{name: "thin/shared", needs: []string{"thin", "thin-pool"}, trials: 2, build: buildThinShared},
	{name: "thin/external", needs: []string{"thin", "thin-pool"}, trials: 2, build: buildThinExternal},
	{name: "thin/full", needs: []string{"thin", "thin-pool"}, build: buildThinFull},
	{name: "thin-pool", needs: []string{"thin-pool"}, build: buildThinPool},
}

// thinParts is what a thin volume consists of.
var thinParts = answers{[]remap.Kind{remap.Data, remap.Zero}, 1}

// thinWrites may be in place where a block belongs to one volume alone.
var thinWrites = dataParts

// thinPool is a pool under construction. Its data lies in pieces, as it does
// after it has grown.
type thinPool struct {
	path  string
	block remap.Sector
}

func newThinPool(b *bench) *thinPool {
	p := &thinPool{block: pick(b, remap.Sector(128), 128, 256, 384)}
	first, second := b.upTo(40, 1)*p.block, 40*p.block
	data := b.mapped(fmt.Sprintf("0 %d linear %s", first, b.place(first)), fmt.Sprintf("%d %d linear %s", first, second, b.place(second)))
	b.fill(data) // blocks that are not zeroed show it: nothing in it may be there twice
	features := pick(b, "0", "1 skip_block_zeroing", "2 skip_block_zeroing no_discard_passdown", "1 ignore_discard")
	p.path = b.mapped(fmt.Sprintf("0 %d thin-pool %s %s %d 0 %s", first+second, b.part(b.zeroed(2048)), data, p.block, features))
	return p
}

// volume makes a volume of the pool; an origin may be empty.
func (p *thinPool) volume(b *bench, id int, n remap.Sector, origin string) string {
	b.Helper()
	return b.mapped(fmt.Sprintf("0 %d thin %s %d %s", n, p.path, id, origin))
}

func buildThin(b *bench) []*subject {
	p := newThinPool(b)
	vm.Message(b, p.path, "create_thin", "0")
	path := p.volume(b, 0, b.between(3000, 5000, 8), "")
	b.scribble(path, 8)
	return []*subject{{path: path, read: thinParts, write: thinWrites, followed: true}}
}

// buildThinFull is a volume all of whose blocks exist.
func buildThinFull(b *bench) []*subject {
	p := newThinPool(b)
	vm.Message(b, p.path, "create_thin", "7")
	path := p.volume(b, 7, b.between(3000, 5000, 8), "")
	b.fill(path)
	return []*subject{{path: path, read: inPlace, write: thinWrites, followed: true}}
}

// buildThinShared takes a snapshot of a volume, and writes to both.
func buildThinShared(b *bench) []*subject {
	p := newThinPool(b)
	vm.Message(b, p.path, "create_thin", "1")
	n := b.between(2000, 3000, 8)
	path := p.volume(b, 1, n, "")
	b.scribble(path, 8)
	vm.Run(b, "dmsetup", "suspend", path)
	vm.Message(b, p.path, "create_snap", "2", "1")
	vm.Run(b, "dmsetup", "resume", path)
	snap := p.volume(b, 2, n, "")
	b.scribble(snap, 8)
	b.scribble(path, 8)
	return []*subject{
		{path: path, name: "origin", read: thinParts, write: thinWrites},
		{path: snap, name: "snapshot", read: thinParts, write: thinWrites},
	}
}

// buildThinExternal rests on a device outside of the pool, which may be shorter.
func buildThinExternal(b *bench) []*subject {
	p := newThinPool(b)
	vm.Message(b, p.path, "create_thin", "0")
	n := b.between(2000, 4000, 8)
	shorter := b.upTo(n/8, 1)*8 - b.upTo(7, 1)
	origin := b.part(b.take(pick(b, n, shorter)))
	path := p.volume(b, 0, n, origin)
	b.scribble(path, 8)
	return []*subject{{path: path, read: thinParts, write: thinWrites}}
}

// buildThinPool opens a pool itself, as nobody should: it is its data device.
func buildThinPool(b *bench) []*subject {
	return []*subject{{path: newThinPool(b).path, read: inPlace, write: dataParts}}
}
