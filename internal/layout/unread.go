package layout

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// A device that could not be read, or contradicts itself, stays in its snapshot: it
// is opaque, so that it is copied through the kernel, and tells why. The others are
// seen as if nothing were wrong with it.

// moving is the transition of a device that kept changinc.
const moving = "changing while it is read"

// looks counts the devices that were not read as a whole.
var looks atomic.Uint64

// markUnread makes a node one that is not read as a whole. It has a print of its own: what is
// not known cannot be known to be unchanged.
func (n *Node) markUnread(cause error) {
	n.MarkUnread(cause)
	n.print = sha256.Sum256(fmt.Appendf(nil, "unread %d", looks.Add(1)))
	n.Raced = isRace(cause)
	n.DM, n.MD, n.Bcache, n.Loop = nil, nil, nil, nil
}

// unread makes a node of such a device.
func (n *Node) unread() *remap.Node {
	node := &remap.Node{
		Dev: n.Dev, Name: n.Name, Path: n.Path(), Size: n.Size, BlockSize: max(n.LogicalBlock, remap.SectorSize), ReadOnly: n.ReadOnly,
		Condition: remap.Condition{Unread: true, LowerUnknown: n.LowerUnknown || n.Kind == sysblock.Loop, Mutable: true}, Layer: n.Layer(), Notes: []string{"not understood: " + n.Unread},
	}
	if n.Raced {
		node.Transition = moving
	}
	return node
}

// Why a device has no place in a stack.
var (
	errMissing = errors.New("it rests on a device that is not there any more")
	errCycle   = errors.New("it rests on itself")
	errDepth   = fmt.Errorf("it rests on more than %d layers", remap.MaxDepth)
)

// cutImpossible cuts devices off from those below where no stack can be made of them.
func (s *Snapshot) cutImpossible() {
	c := cutter{nodes: make(map[remap.Dev]*Node, len(s.Nodes)), depth: make(map[remap.Dev]int)}
	for i := range s.Nodes {
		c.nodes[s.Nodes[i].Dev] = &s.Nodes[i]
	}
	for i := range s.Nodes {
		if c.visit(&s.Nodes[i]); c.raced != nil {
			s.raced = c.raced
		}
	}
}

type cutter struct {
	nodes map[remap.Dev]*Node
	// depth counts the layers below each device; -1 marks one under visit.
	depth map[remap.Dev]int
	raced error
}

func (c *cutter) visit(n *Node) int {
	if d, known := c.depth[n.Dev]; known {
		return d
	}
	c.depth[n.Dev] = -1
	deepest := 0
	for _, dev := range n.below() {
		lower := c.nodes[dev]
		if lower == nil {
			c.raced = &Error{n.describe(), fmt.Errorf("%w: %s: %w", errMissing, dev, ErrRace)}
			return c.cut(n, c.raced)
		}
		d := c.visit(lower)
		switch {
		case d < 0:
			return c.cut(n, &Error{n.describe(), errCycle})
		case d+1 > remap.MaxDepth:
			return c.cut(n, &Error{n.describe(), errDepth})
		}
		deepest = max(deepest, d+1)
	}
	c.depth[n.Dev] = deepest
	return deepest
}

// cut makes a device one that rests on nothing that is known.
func (c *cutter) cut(n *Node, cause error) int {
	n.markUnread(cause)
	n.Part, n.Slaves, n.LowerUnknown = nil, nil, true
	c.depth[n.Dev] = 1
	return 1
}
