package layout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/dmtable/integritysb"
	"github.com/dmcopy/dmcopy/dmtable/thinmeta"
	"github.com/dmcopy/dmcopy/internal/bcache"
	"github.com/dmcopy/dmcopy/remap"
)

// Some maps are data on disk. They are read once all tables are known, and what
// cannot be read leaves its line opaque, with a note that says why.

// metadata reads the maps of one snapshot.
type metadata struct {
	r     *Reader
	s     *Snapshot
	nodes map[remap.Dev]*Node
	// pools are the superblocks of the metadata snapshots of thin pools, and
	// what went wrong with taking them.
	pools map[remap.Dev]*poolMeta
}

type poolMeta struct {
	dmtable.Pool
	root  uint64
	super *thinmeta.Super
	err   error
}

// addMetadata completes the tables of a snapshot.
func (r *Reader) addMetadata(ctx context.Context, s *Snapshot) error {
	m := &metadata{r: r, s: s, nodes: make(map[remap.Dev]*Node, len(s.Nodes)), pools: make(map[remap.Dev]*poolMeta)}
	for i := range s.Nodes {
		m.nodes[s.Nodes[i].Dev] = &s.Nodes[i]
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Bcache != nil {
			m.note(n, m.bcache(ctx, n.Bcache))
		}
		if n.DM == nil {
			continue
		}
		for j := range n.DM.Targets {
			if err := ctx.Err(); err != nil {
				return err
			}
			m.note(n, m.complete(ctx, n, &n.DM.Targets[j]))
		}
	}
	return nil
}

// note says what could not be read.
func (m *metadata) note(n *Node, err error) {
	if err == nil {
		return
	}
	if isRace(err) {
		m.s.raced = err
	}
	n.Problems = append(n.Problems, oneLine(err.Error()))
	m.r.log.Warn("metadata is not read", "device", n.Name, "error", err)
}

// oneLine makes one printable line of the text of an error: it is stored, and
// may hold names that somebody else has given.
func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ReplaceAll(text, "\n", "; "))
}

// complete reads what one line needs.
func (m *metadata) complete(ctx context.Context, n *Node, t *dmtable.Target) error {
	if cow, ok := t.ExceptionStore(); ok {
		return m.exceptions(ctx, n, t, cow)
	}
	if v, ok := t.ThinVolume(); ok && m.r.holdRoots {
		return m.thin(ctx, t, v)
	}
	if dev, start, ok := t.IntegritySuper(); ok {
		text, err := m.head(ctx, dev, start, integritysb.MinSize)
		if err == nil {
			t.Integrity.Super, err = integritysb.Parse(text)
		}
		return err
	}
	if dev, ok := t.RaidMember(); ok {
		text, err := m.head(ctx, dev, 0, dmtable.RaidSuperSize)
		if err == nil {
			t.RaidSuper, err = dmtable.ParseRaidSuper(text)
		}
		return err
	}
	return nil
}

// bcache reads the superblock of a backing device.
func (m *metadata) bcache(ctx context.Context, d *bcache.Device) error {
	dev, wanted := d.Wanted()
	if !wanted {
		return nil
	}
	text, err := m.head(ctx, dev, bcache.SuperStart, bcache.SuperSize)
	if err == nil {
		d.Super, err = bcache.ParseSuper(text)
	}
	return err
}

// head reads the first bytes from a sector on.
func (m *metadata) head(ctx context.Context, dev remap.Dev, start remap.Sector, size int) ([]byte, error) {
	disk, err := m.open(ctx, dev)
	if err != nil {
		return nil, err
	}
	text := make([]byte, size)
	_, err = disk.ReadAt(text, start.Bytes())
	return text, errors.Join(err, disk.Close())
}

// open opens a device that nobody has suspended, nor anything below it: reading
// it would wait.
func (m *metadata) open(ctx context.Context, dev remap.Dev) (*onDisk, error) {
	n := m.nodes[dev]
	if n == nil {
		return nil, &Error{dev.String(), ErrRace}
	}
	if err := m.atRest(n); err != nil {
		return nil, err
	}
	return openDisk(ctx, m.r.fs, n)
}

// atRest fails for a device that is in transition, or one below it.
func (m *metadata) atRest(n *Node) error {
	for _, lower := range m.under(n) {
		if why := lower.transition(); why != "" {
			return &Error{n.describe(), fmt.Errorf("%s is %s", lower.describe(), why)}
		}
	}
	return nil
}

// under lists a device and everything below it, each once.
func (m *metadata) under(n *Node) []*Node {
	list, seen := []*Node{n}, map[remap.Dev]bool{n.Dev: true}
	for i := 0; i < len(list); i++ {
		for _, dev := range list[i].below() {
			if lower := m.nodes[dev]; lower != nil && !seen[dev] {
				seen[dev] = true
				list = append(list, lower)
			}
		}
	}
	return list
}

// transition says how the layout of a device is about to change.
func (n *Node) transition() string {
	switch {
	case n.DM != nil:
		return n.DM.Transition()
	case n.MD != nil:
		return n.MD.Transition()
	}
	return ""
}

// exceptions reads the exception store of a snapshot, or what was added to it
// since it was read for an earlier one.
func (m *metadata) exceptions(ctx context.Context, n *Node, t *dmtable.Target, cow remap.Dev) (err error) {
	disk, err := m.open(ctx, cow)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	c := m.nodes[cow]
	key := storeKey{n.print, c.print, n.DiskSeq, c.DiskSeq}
	if last := m.r.store(n.Dev, key); last != nil {
		t.Exceptions, err = last.Reread(disk)
	} else {
		t.Exceptions, err = exstore.Read(disk, c.Size)
	}
	if err != nil {
		t.Exceptions = nil
	}
	m.r.keep(n.Dev, key, t.Exceptions)
	return err
}

// thin reads where the blocks of a thin volume are.
func (m *metadata) thin(ctx context.Context, t *dmtable.Target, v dmtable.ThinVolume) (err error) {
	p, err := m.pool(ctx, v.Pool)
	if err != nil {
		return err
	}
	disk, err := m.open(ctx, p.Metadata)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	thin := &dmtable.Thin{Root: p.root}
	if v.External {
		origin := m.nodes[v.Origin]
		if origin == nil {
			return &Error{v.Origin.String(), ErrRace}
		}
		thin.External = origin.Size
	}
	if thin.Map, _, err = thinmeta.Device(disk, p.super, v.ID); err != nil {
		return err
	}
	t.Thin = thin
	return nil
}

// pool takes a metadata snapshot of a thin pool, once, and reads its
// superblock.
func (m *metadata) pool(ctx context.Context, dev remap.Dev) (*poolMeta, error) {
	p := m.pools[dev]
	if p == nil {
		p = &poolMeta{}
		m.pools[dev] = p
		p.err = m.readPool(ctx, dev, p)
	}
	return p, p.err
}

func (m *metadata) readPool(ctx context.Context, dev remap.Dev, p *poolMeta) error {
	n := m.nodes[dev]
	if n == nil || n.DM == nil {
		return &Error{dev.String(), ErrRace}
	}
	var ok bool
	if p.Pool, ok = n.DM.Pool(); !ok {
		return &Error{n.describe(), errors.New("the table of the pool is not understood")}
	}
	status, err := dmtable.ParsePoolStatus(n.DM.Targets[0].Status)
	if err != nil {
		return err
	}
	if status.NeedsCheck {
		return &Error{n.describe(), errors.New("the pool needs a check (thin_check)")}
	}
	if err := m.writeBack(ctx, n); err != nil {
		return err
	}
	held, err := m.r.hold(n.DM)
	if err != nil {
		return err
	}
	p.root = held.root
	// Taking the metadata snapshot has changed the status of the pool.
	if err := m.refresh(n, held); err != nil {
		return err
	}
	disk, err := m.open(ctx, p.Metadata)
	if err != nil {
		return err
	}
	p.super, err = thinmeta.ReadSuper(disk, p.root)
	if err == nil && p.super.NeedsCheck {
		err = &Error{n.describe(), errors.New("the pool needs a check (thin_check)")}
	}
	if err == nil && p.super.DataBlockSize != p.Block {
		err = &Error{n.describe(), fmt.Errorf("%w: blocks of %d sectors in the table, of %d in the metadata", ErrRace, p.Block, p.super.DataBlockSize)}
	}
	return errors.Join(err, disk.Close())
}

// writeBack has the page caches of a pool's volumes, and of what lies above
// them, written: blocks that they are given for it afterwards would be
// missing in the metadata snapshot. The pool commits its metadata when it is
// taken, which is I/O below; if that would have to wait, so would we.
func (m *metadata) writeBack(ctx context.Context, pool *Node) error {
	if err := m.atRest(pool); err != nil {
		return err
	}
	for i := range m.s.Nodes {
		n := &m.s.Nodes[i]
		if n == pool || !slices.Contains(m.under(n), pool) {
			continue
		}
		disk, err := m.open(ctx, n.Dev)
		if err != nil {
			return err
		}
		if err := errors.Join(disk.Sync(ctx), disk.Close()); err != nil {
			return err
		}
	}
	return nil
}

// refresh reads a pool again; it must be the one that it was, with our root, and
// in the same transaction as when that was taken.
func (m *metadata) refresh(n *Node, held *heldRoot) error {
	now, err := m.r.devices().node(n.Dev)
	if err != nil {
		return err
	}
	if now.DM == nil || now.DM.Name != n.DM.Name || now.DM.UUID != n.DM.UUID || len(now.DM.Targets) != 1 ||
		now.DM.Targets[0].Params != n.DM.Targets[0].Params {
		return &Error{n.describe(), ErrRace}
	}
	*n = *now
	status, err := dmtable.ParsePoolStatus(n.DM.Targets[0].Status)
	if err == nil && (status.HeldRoot != held.root || status.Transaction != held.transaction) {
		err = &Error{n.describe(), ErrRace}
	}
	return err
}
