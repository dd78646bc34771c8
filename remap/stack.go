package remap

import (
	"fmt"
	"slices"
)

// MaxDepth is the number of layers that a stack may have. The kernel limits
// nothing: a bio goes down level by level, not by recursion (block/blk-core.c,
// submit_bio_noacct). This is for what walks stacks, and deeper than any real one.
const MaxDepth = 64

// Stack is an immutable snapshot of devices and what maps them.
type Stack struct {
	nodes map[Dev]*Node
	order []*Node // by device number, for stable output
}

// New checks the nodes and makes a stack of them. Every device that a layer
// rests on must be among them; no device may rest on itself.
func New(nodes []*Node) (*Stack, error) {
	st := &Stack{nodes: make(map[Dev]*Node, len(nodes)), order: slices.Clone(nodes)}
	for _, n := range nodes {
		if err := n.check(); err != nil {
			return nil, &StackError{n.Dev, n.Name, err}
		}
		if st.nodes[n.Dev] != nil {
			return nil, &StackError{n.Dev, n.Name, ErrDuplicate}
		}
		st.nodes[n.Dev] = n
	}
	slices.SortFunc(st.order, func(a, b *Node) int { return a.Dev.compare(b.Dev) })
	depth := make(map[Dev]int, len(nodes))
	for _, n := range st.order {
		if _, err := st.depth(n, depth); err != nil {
			return nil, err
		}
	}
	return st, nil
}

func (n *Node) check() error {
	switch {
	case n.Size < 0 || n.Size > MaxSectors:
		return fmt.Errorf("%w: size of %d sectors", ErrBadNode, n.Size)
	case n.BlockSize < SectorSize || n.BlockSize&(n.BlockSize-1) != 0:
		return fmt.Errorf("%w: logical block size of %d bytes", ErrBadNode, n.BlockSize)
	case (n.Layer == nil) == (n.Leaf == nil):
		return fmt.Errorf("%w: a device is either mapped or a leaf", ErrBadNode)
	}
	return nil
}

func (d Dev) compare(o Dev) int {
	if d.Major != o.Major {
		return int(d.Major) - int(o.Major)
	}
	return int(d.Minor) - int(o.Minor)
}

// depth returns the number of layers below n, and fails on cycles, missing
// devices and stacks deeper than MaxDepth. -1 marks a device under visit.
func (st *Stack) depth(n *Node, known map[Dev]int) (int, error) {
	if d, ok := known[n.Dev]; ok {
		if d < 0 {
			return 0, &StackError{n.Dev, n.Name, ErrCycle}
		}
		return d, nil
	}
	if n.Layer == nil {
		known[n.Dev] = 0
		return 0, nil
	}
	known[n.Dev] = -1
	deepest := 0
	for _, dev := range n.Layer.Below() {
		lower := st.nodes[dev]
		if lower == nil {
			return 0, &StackError{n.Dev, n.Name, fmt.Errorf("rests on %s: %w", dev, ErrUnknownDevice)}
		}
		d, err := st.depth(lower, known)
		if err != nil {
			return 0, err
		}
		deepest = max(deepest, d)
	}
	if deepest++; deepest > MaxDepth {
		return 0, &StackError{n.Dev, n.Name, ErrTooDeep}
	}
	known[n.Dev] = deepest
	return deepest, nil
}

// Node returns the device, or nil if the snapshot does not hold it.
func (st *Stack) Node(dev Dev) *Node { return st.nodes[dev] }

// Nodes lists all devices by device number.
func (st *Stack) Nodes() []*Node { return st.order }

// CopiesOnWrite tells whether [Node.CopiesOnWrite] is set for dev or a device below it.
func (st *Stack) CopiesOnWrite(dev Dev) bool {
	return slices.ContainsFunc(st.Under(dev), func(n *Node) bool { return n.CopiesOnWrite })
}

// Under lists dev and every device below it, each once, upper ones first.
func (st *Stack) Under(dev Dev) []*Node {
	var found []*Node
	seen := make(map[Dev]bool)
	var visit func(Dev)
	visit = func(d Dev) {
		n := st.nodes[d]
		if n == nil || seen[d] {
			return
		}
		seen[d] = true
		found = append(found, n)
		if n.Layer != nil {
			for _, lower := range n.Layer.Below() {
				visit(lower)
			}
		}
	}
	visit(dev)
	return found
}
