package fakestack

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// Stack implements machine.Layout.
func (m *Machine) Stack(ctx context.Context, devs ...remap.Dev) (*remap.Stack, error) {
	if n := m.call("stack"); m.Hooks.Stack != nil {
		m.Hooks.Stack(n)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var nodes []*remap.Node
	seen := make(map[remap.Dev]bool)
	for queue := devs; len(queue) > 0; queue = queue[1:] {
		d := m.devices[queue[0]]
		if d != nil && d.gone && !slices.Contains(devs, d.dev) {
			continue
		}
		if d == nil || d.gone {
			return nil, fmt.Errorf("device %s: %w", queue[0], errGone)
		}
		if !seen[d.dev] {
			seen[d.dev] = true
			nodes = append(nodes, m.node(d))
			queue = append(queue[:1:1], append(queue[1:], d.table.below()...)...)
		}
	}
	return remap.New(nodes)
}

// Changes implements machine.Layout, as package layout does.
func (m *Machine) Changes(ctx context.Context, st *remap.Stack) ([]remap.Change, error) {
	n := m.call("changes")
	if hook := m.Hooks.BeforeChanges; hook != nil {
		if err := hook(n); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	changes := m.changes(st)
	if hook := m.Hooks.AfterChanges; hook != nil {
		hook(n)
	}
	return changes, nil
}

func (m *Machine) changes(st *remap.Stack) []remap.Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	var changes []remap.Change
	for _, n := range st.Nodes() {
		c := remap.Change{Dev: n.Dev, Name: n.Name}
		d := m.devices[n.Dev]
		switch {
		case d == nil || d.gone:
			c.What, c.Gone = "gone", true
		case n.Unread:
			continue
		case d.odd != nil:
			c.What = "cannot be read"
		case d.print() != n.Print:
			c.What = "layout changed"
		case d.transition() != "":
			c.What, c.Moving = d.transition(), true
		default:
			continue
		}
		changes = append(changes, c)
	}
	return changes
}

// node is d.node, but for a device that rests on a disk that is gone: its table names
// what cannot be found.
func (m *Machine) node(d *device) *remap.Node {
	n := d.node()
	if below := d.table.below(); slices.ContainsFunc(below, func(dev remap.Dev) bool { return m.devices[dev].gone }) {
		(&Oddity{}).spoil(n, slices.DeleteFunc(below, func(dev remap.Dev) bool { return m.devices[dev].gone }))
	}
	return n
}

// node is what can be known of a device from outside.
func (d *device) node() *remap.Node {
	n := &remap.Node{
		Dev: d.dev, Name: d.name, Path: "/dev/" + d.name, Size: d.size, BlockSize: d.block, Owner: d.owner,
		Condition: remap.Condition{Mutable: d.leaf == nil && d.kind != partition, Transition: d.transition()}, Print: d.print(),
	}
	switch {
	case d.odd != nil:
		d.odd.spoil(n, d.table.below())
	case d.leaf != nil:
		facts := d.leaf.facts
		n.Leaf = &facts
	case d.kind == partition:
		at := d.table[0].Target.(Linear)
		n.Layer = remap.Shifted{Layer: "partition", Dev: at.Dev, Start: at.Start}
	case d.kind == array:
		n.Layer = d.table[0].Target.(Mirror)
	default:
		n.Bypassed = slices.ContainsFunc(d.table, func(seg Segment) bool { c, ok := seg.Target.(Crypt); return ok && c.Override })
		n.Layer, n.CopiesOnWrite, n.Granule = d.table.layer(), d.table.copiesOnWrite(), d.table.granule()
	}
	return n
}

func (d *device) transition() string {
	switch {
	case d.suspended:
		return "suspended"
	case d.waiting > 0 || d.staged:
		return "new table staged"
	}
	return ""
}

func (d *device) print() remap.Fingerprint {
	text := fmt.Sprintf("%s %s %d %d\n%s", d.dev, d.name, d.size, d.block, d.table)
	if d.leaf != nil {
		text += d.leaf.facts.Identity
	}
	return sha256.Sum256([]byte(text))
}

// OpenLeaf implements machine.Machine.
func (m *Machine) OpenLeaf(_ context.Context, n *remap.Node) (machine.Leaf, error) {
	return m.Open(n.Dev), nil
}

func (m *Machine) device(dev remap.Dev) *device {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.devices[dev]
}
