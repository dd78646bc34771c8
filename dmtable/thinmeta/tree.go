package thinmeta

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
)

// Where things are in a node of a B-tree, in bytes
// (persistent-data/dm-btree-internal.h, struct node_header). Keys follow the
// header; values follow the keys, behind room for max entries.
const (
	atNodeFlags = 4
	atEntries   = 16
	atMax       = 20
	atValueSize = 24
	atKeys      = 32

	flagInternal = 1
	flagLeaf     = 2

	keySize = 8
	// pointerSize is the size of the values of internal nodes: children.
	pointerSize = 8
	// maxDepth bounds trees: nodes have two thirds of 252 children, or half of
	// that where trees were thinned out, so 2^64 keys fit into fewer levels.
	maxDepth = 16
)

// node is a verified node.
type node struct {
	block   []byte
	leaf    bool
	entries int
	max     int
	size    int
}

func (n node) key(i int) uint64 {
	return binary.LittleEndian.Uint64(n.block[atKeys+i*keySize:])
}

func (n node) value(i int) []byte {
	return n.block[atKeys+n.max*keySize+i*n.size:][:n.size]
}

func (n node) child(i int) uint64 { return binary.LittleEndian.Uint64(n.value(i)) }

// span is the keys that may be in a node: from first to last.
type span struct{ first, last uint64 }

// parseNode verifies a node whose keys lie in the span and whose values, if it
// is a leaf, have a size.
func parseNode(block []byte, number uint64, within span, valueSize int) (node, error) {
	if err := verify(block, number, nodeSalt); err != nil {
		return node{}, err
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(block[at:]) }
	flags, entries, max, size := word(atNodeFlags), word(atEntries), word(atMax), word(atValueSize)
	switch {
	case flags != flagInternal && flags != flagLeaf:
		return node{}, fmt.Errorf("%w: node %d has flags %#x", ErrFormat, number, flags)
	case flags == flagInternal && size != pointerSize || flags == flagLeaf && size != uint32(valueSize):
		return node{}, fmt.Errorf("%w: node %d has values of %d bytes", ErrFormat, number, size)
	case max > (blockSize-atKeys)/(keySize+size) || entries > max:
		return node{}, fmt.Errorf("%w: node %d has %d entries and room for %d", ErrFormat, number, entries, max)
	}
	n := node{block, flags == flagLeaf, int(entries), int(max), int(size)}
	return n, n.checkKeys(number, within)
}

func (n node) checkKeys(number uint64, within span) error {
	least := within.first
	for i := range n.entries {
		key := n.key(i)
		if key < least || key > within.last || i > 0 && key == n.key(i-1) {
			return fmt.Errorf("%w: node %d has key %d out of order", ErrFormat, number, key)
		}
		least = key
	}
	return nil
}

// walker reads one tree after the other. Only the nodes from the root down to
// where it is are in memory.
type walker struct {
	cache
	// path are copies of the internal nodes above.
	path [maxDepth][]byte
	// visited counts nodes. A sound tree has each block once.
	visited uint64
}

// tree is a tree and the size of its values.
type tree struct {
	root      uint64
	valueSize int
}

// node reads the node at some depth; depth 0 is the root. A node below the
// root has a key at least. It is valid until the next block is read.
func (w *walker) node(t tree, number uint64, within span, depth int) (node, error) {
	if depth == maxDepth {
		return node{}, fmt.Errorf("%w: node %d", ErrTooDeep, number)
	}
	if w.visited++; w.visited > w.blocks {
		return node{}, fmt.Errorf("%w: node %d", ErrCycle, number)
	}
	block, err := w.block(number)
	if err != nil {
		return node{}, err
	}
	n, err := parseNode(block, number, within, t.valueSize)
	if err == nil && n.entries == 0 && (depth > 0 || !n.leaf) {
		err = fmt.Errorf("%w: node %d is empty", ErrFormat, number)
	}
	return n, err
}

// lookup finds the value of a key. It is valid until the next block is read.
func (w *walker) lookup(t tree, key uint64) (value []byte, found bool, err error) {
	w.visited = 0
	number, within := t.root, span{0, math.MaxUint64}
	for depth := 0; ; depth++ {
		n, err := w.node(t, number, within, depth)
		if err != nil {
			return nil, false, err
		}
		i := sort.Search(n.entries, func(i int) bool { return n.key(i) > key }) - 1
		switch {
		case i < 0 || n.leaf && n.key(i) != key:
			return nil, false, nil
		case n.leaf:
			return n.value(i), true, nil
		}
		number, within = n.child(i), n.below(i, within)
	}
}

// below is the span of the keys below an entry of an internal node.
func (n node) below(i int, within span) span {
	if i+1 < n.entries {
		within.last = n.key(i+1) - 1
	}
	within.first = n.key(i)
	return within
}

// walk visits all keys in order. No key may be above last.
func (w *walker) walk(t tree, last uint64, visit func(key uint64, value []byte) error) error {
	w.visited = 0
	return w.descend(t, t.root, span{0, last}, 0, visit)
}

func (w *walker) descend(t tree, number uint64, within span, depth int, visit func(uint64, []byte) error) error {
	n, err := w.node(t, number, within, depth)
	if err != nil {
		return err
	}
	if n.leaf {
		for i := range n.entries {
			if err := visit(n.key(i), n.value(i)); err != nil {
				return err
			}
		}
		return nil
	}
	w.path[depth] = append(w.path[depth][:0], n.block...)
	n.block = w.path[depth]
	for i := range n.entries {
		if err := w.descend(t, n.child(i), n.below(i, within), depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}
