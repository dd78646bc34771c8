package remap

import (
	"cmp"
	"fmt"
	"iter"
)

// Reasons that the resolver itself gives.
const (
	// ReasonBadMap: a layer gave an answer that cannot be true, such as a
	// place beyond the end of the device below.
	ReasonBadMap Reason = "layer:impossible-map"
	// ReasonErrorTarget: reads and writes fail here.
	ReasonErrorTarget Reason = "layer:error"
	// ReasonCipher: what lies below is not what is read from above.
	ReasonCipher Reason = "layer:crypt"
	// ReasonLegs: a leg of a replica is not plain data all the way down.
	ReasonLegs Reason = "layer:replica-legs"
)

// Resolve answers where r lives when it is read or written: extents in order,
// without gaps, exactly covering r. Adjacent extents are merged as far as they
// are contiguous. Memory does not grow with their number.
func (st *Stack) Resolve(op Op, r Range) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		cur, err := st.Cursor(op, r)
		if err != nil {
			yield(Extent{}, err)
			return
		}
		for cur.Next() {
			if !yield(*cur.Extent(), nil) {
				return
			}
		}
	}
}

// Cursor walks the extents of one range. It is the pulling form of
// [Stack.Resolve], for callers that walk two ranges side by side.
type Cursor struct {
	st   *Stack
	op   Op
	root *Node
	next Sector // first sector not resolved yet
	end  Sector
	via  Via     // root of the chains
	legs LegSlab // of extents, which may be kept

	current *Extent
	ahead   *Extent // resolved, not yet known to be separate from current
	hasNext bool
}

// Cursor starts a walk over r.
func (st *Stack) Cursor(op Op, r Range) (*Cursor, error) {
	c := newCursor(st, op)
	if err := c.seek(r); err != nil {
		return nil, err
	}
	return c, nil
}

// newCursor makes one that has to be told of a range.
func newCursor(st *Stack, op Op) *Cursor {
	return &Cursor{st: st, op: op, current: new(Extent), ahead: new(Extent)}
}

// seek starts over with another range. What was found is forgotten, the chains
// are not.
func (c *Cursor) seek(r Range) error {
	n := c.st.nodes[r.Dev]
	if n == nil {
		return &StackError{r.Dev, "", ErrUnknownDevice}
	}
	if r.Start < 0 || r.Len < 0 || r.Start > n.Size || r.Len > n.Size-r.Start {
		return &StackError{r.Dev, n.DisplayName(), fmt.Errorf("sectors [%d,+%d) of %d: %w", r.Start, r.Len, n.Size, ErrOutOfRange)}
	}
	c.root, c.next, c.end = n, r.Start, r.End()
	c.pull()
	return nil
}

// Next moves to the next extent. It returns false behind the last one.
func (c *Cursor) Next() bool {
	if !c.hasNext {
		return false
	}
	c.current, c.ahead = c.ahead, c.current
	for c.pull(); c.hasNext && c.ahead.follows(c.current); c.pull() {
		c.current.Len += c.ahead.Len
	}
	return true
}

// Extent returns the extent that Next moved to. It stays valid until the next
// call of Next.
func (c *Cursor) Extent() *Extent { return c.current }

// pull resolves one more extent into ahead.
func (c *Cursor) pull() {
	c.hasNext = c.next < c.end
	if c.hasNext {
		*c.ahead = Extent{Start: c.next}
		c.locate(c.root, c.next, c.end-c.next, &c.via, c.ahead)
		c.next += c.ahead.Len
	}
}

// locate follows the run of at most n sectors at sector s of node down to its
// leaf and fills everything of e but Start.
func (c *Cursor) locate(node *Node, s, n Sector, via *Via, e *Extent) {
	for node.Layer != nil {
		p := node.Layer.Map(c.op, s, n)
		via = via.below(node.Dev, p.Layer)
		if p.Len < 1 || p.Len > n || via.depth > MaxDepth {
			e.stop(n, Opaque, Leg{Dev: node.Dev, Start: s}, ReasonBadMap, via)
			return
		}
		n = p.Len
		switch p.Kind {
		case Data, Cipher:
			lower := c.st.nodes[p.Leg.Dev]
			if !lower.holds(p.Leg.Start, n) {
				e.stop(n, Opaque, Leg{Dev: node.Dev, Start: s}, ReasonBadMap, via)
				return
			}
			if p.Kind == Cipher {
				e.encipher(&p)
			}
			node, s = lower, p.Leg.Start
		case Replica, Zero:
			switch {
			case e.Kind == Cipher: // no kind says "deciphered from zeroes" or "from any leg"
				e.stop(n, Opaque, Leg{Dev: node.Dev, Start: s}, ReasonCipher, via)
			case p.Kind == Zero:
				e.stop(n, Zero, Leg{Dev: node.Dev, Start: s}, "", via)
			default:
				c.locateLegs(node, s, p, via, e)
			}
			return
		case Opaque, Error:
			plain := e.Kind != Cipher
			e.stop(n, p.Kind, Leg{Dev: node.Dev, Start: s}, p.Reason, via)
			if plain && p.Kind == Opaque {
				e.Blank = p.Blank
			}
			return
		default:
			e.stop(n, Opaque, Leg{Dev: node.Dev, Start: s}, ReasonBadMap, via)
			return
		}
	}
	if e.Kind != Cipher {
		e.Kind = Data
	}
	e.Len, e.Leg, e.Via = n, Leg{Dev: node.Dev, Start: s, Readable: true}, via
}

// locateLegs resolves every leg of a replica. A leg that is itself anything
// but plain data makes the whole run opaque, with the reason of that leg.
func (c *Cursor) locateLegs(node *Node, s Sector, p Place, via *Via, e *Extent) {
	n := p.Len
	legs := c.legs.Take(len(p.Legs))
	var below Extent // out here, so that it is not allocated
	for _, leg := range p.Legs {
		lower := c.st.nodes[leg.Dev]
		if !lower.holds(leg.Start, n) {
			e.stop(n, Opaque, Leg{Dev: node.Dev, Start: s}, ReasonBadMap, via)
			return
		}
		below = Extent{}
		c.locate(lower, leg.Start, n, via, &below)
		n = below.Len
		switch below.Kind {
		case Data:
			legs = append(legs, below.Leg)
			legs[len(legs)-1].Readable = leg.Readable
		case Replica:
			for _, nested := range below.Legs {
				nested.Readable = nested.Readable && leg.Readable
				legs = append(legs, nested)
			}
		default:
			e.stop(n, Opaque, below.Leg, cmp.Or(below.Reason, ReasonLegs), via)
			return
		}
	}
	if len(legs) == 0 {
		e.stop(n, Opaque, Leg{Dev: node.Dev, Start: s}, ReasonBadMap, via)
		return
	}
	e.Len, e.Kind, e.Legs, e.Leg, e.Via = n, Replica, legs, legs[0], via
}

// stop ends resolving at a place of a device that is not a leaf.
func (e *Extent) stop(n Sector, kind Kind, at Leg, reason Reason, via *Via) {
	if kind == Error && reason == "" {
		reason = ReasonErrorTarget
	}
	e.Len, e.Kind, e.Leg, e.Legs, e.Reason, e.Via = n, kind, at, nil, reason, via
	e.Cipher, e.IV, e.Blank = nil, 0, 0
}

// holds tells whether the node exists and the run lies on it.
func (n *Node) holds(s, length Sector) bool {
	return n != nil && s >= 0 && s <= n.Size && length <= n.Size-s
}
