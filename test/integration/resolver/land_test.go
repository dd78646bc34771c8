package resolver

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// spot is a sector of a disk of the pool.
type spot struct {
	disk   *disk
	sector remap.Sector
}

// land writes stamps through the top and looks for them everywhere on the disks:
// a sector must be found at the places that the resolver named before it was
// written, and nowhere else. Ciphers are looked for as what has changed.
func (c *check) land() {
	c.Helper()
	written, refused := c.strew()
	if refused != nil {
		for i := range c.writes {
			if e := &c.writes[i]; len(legs(e)) > 0 {
				c.complain("sectors [%d,+%d) are %s for writing, but %v", e.Start, e.Len, e.Kind, refused)
			}
		}
		return
	}
	found := c.stamps(written.seed)
	changed := 0
	for _, s := range written.sectors {
		e := find(c.writes, s)
		switch e.Kind {
		case remap.Opaque:
			continue
		case remap.Cipher:
			at := places(e, s)[0]
			if !written.changed(c, at) {
				c.complain("sector %d was written, and sector %d of %s, where it should land, holds what it held before", s, at.Start, c.stack.Node(at.Dev).Name)
			}
			changed++
		default:
			var want []spot
			for _, leg := range places(e, s) {
				want = append(want, spot{c.diskOf(leg.Dev), leg.Start})
			}
			if got := found[s]; !same(got, want) {
				c.complain("sector %d (%s) should land at %s, and landed at %s", s, e.Kind, spell(want), spell(got))
			}
		}
		c.sum.landed++
	}
	if changed > 0 && changed == len(written.sectors) {
		if all := written.changes(c); all != changed {
			c.complain("%d sectors were written, and %d have changed", changed, all)
		}
	}
}

// diskOf is the disk of a leaf; one that shows twice is one disk.
func (c *check) diskOf(dev remap.Dev) *disk {
	d := c.pool.byDev[dev]
	if slices.Contains(c.pool.paths, d) {
		return c.pool.paths[0]
	}
	return d
}

func same(a, b []spot) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s spot) bool { return !slices.Contains(b, s) })
}

func spell(spots []spot) string {
	if len(spots) == 0 {
		return "no place"
	}
	text := ""
	for i, s := range spots {
		if i > 0 {
			text += " and "
		}
		text += run{s.disk, s.sector, 1}.arg()
	}
	return text
}

// strewn is what was written, and what the runs of the trial held before.
type strewn struct {
	seed    uint64
	sectors []remap.Sector
	before  map[run]*image
}

// strew writes random runs of blocks, one write each. The error is that of a
// device which cannot be written to at all.
func (c *check) strew() (*strewn, error) {
	c.Helper()
	f, err := os.OpenFile(c.path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := &strewn{seed: c.pool.stamp(), before: make(map[run]*image)}
	if slices.ContainsFunc(c.writes, func(e remap.Extent) bool { return e.Kind == remap.Cipher }) {
		for _, r := range c.taken {
			w.before[r] = c.image(r.disk.path, r.start, r.len)
		}
	}
	block := remap.Sector(c.node.BlockSize / remap.SectorSize)
	blocks := c.node.Size / block
	// One run in each of so many equal parts, so that they do not overlap.
	const runs = 24
	for i := range min(runs, blocks) {
		part := blocks / min(runs, blocks)
		first := i*part + remap.Sector(c.Int64N(int64(part)))
		n := min(c.upTo(48, 1), (i+1)*part-first)
		w.write(c, f, first*block, n*block)
	}
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EIO) {
		c.Fatal(err)
	}
	return w, nil
}

// write stamps a run with one write, but for the pieces that must fail, which
// are tried by themselves.
func (w *strewn) write(c *check, f *os.File, start, n remap.Sector) {
	c.Helper()
	for at := start; at < start+n; {
		e := find(c.writes, at)
		end := at
		for end < start+n {
			next := find(c.writes, end)
			if (next.Kind == remap.Error) != (e.Kind == remap.Error) {
				break
			}
			end = min(next.End(), start+n)
		}
		buffer := pages((end - at).Bytes())
		vm.FillStamp(buffer, w.seed, at.Bytes())
		_, err := f.WriteAt(buffer, at.Bytes())
		switch {
		case e.Kind == remap.Error && err == nil:
			c.complain("sectors [%d,%d) can be written, though they are said to fail", at, end)
		case e.Kind != remap.Error && err != nil && !c.allOpaque(at, end):
			c.complain("sectors [%d,%d): %v", at, end, err)
		case err == nil:
			for s := at; s < end; s++ {
				w.sectors = append(w.sectors, s)
			}
		}
		at = end
	}
}

// allOpaque tells whether nothing is said of a run.
func (c *check) allOpaque(start, end remap.Sector) bool {
	for s := start; s < end; {
		e := find(c.writes, s)
		if e.Kind != remap.Opaque {
			return false
		}
		s = e.End()
	}
	return true
}

// stamps looks for stamps of a seed in everything that the trial is built on.
func (c *check) stamps(seed uint64) map[remap.Sector][]spot {
	c.Helper()
	found := make(map[remap.Sector][]spot)
	for _, r := range c.taken {
		i := c.image(r.disk.path, r.start, r.len)
		for s := r.start; s < r.start+r.len; s++ {
			content, ok := i.sector(s)
			if !ok {
				c.Fatalf("sector %d of %s cannot be read", s, r.disk.path)
			}
			if of, address, ok := vm.ParseStamp(content); ok && of == seed {
				top := remap.Sector(address / remap.SectorSize)
				found[top] = append(found[top], spot{c.diskOf(r.disk.dev), s})
			}
		}
	}
	return found
}

// changed tells whether a place holds something else than before.
func (w *strewn) changed(c *check, at remap.Leg) bool {
	c.Helper()
	for r, before := range w.before {
		if r.disk.dev == at.Dev && r.start <= at.Start && at.Start < r.start+r.len {
			old, _ := before.sector(at.Start)
			now, _ := c.image(r.disk.path, at.Start&^7, min(8, r.disk.size-at.Start&^7)).sector(at.Start)
			return string(old) != string(now)
		}
	}
	return false
}

// changes counts the sectors that hold something else than before.
func (w *strewn) changes(c *check) (n int) {
	c.Helper()
	for r, before := range w.before {
		after := c.image(r.disk.path, r.start, r.len)
		for s := r.start; s < r.start+r.len; s++ {
			old, _ := before.sector(s)
			if now, _ := after.sector(s); string(old) != string(now) {
				n++
			}
		}
	}
	return n
}
