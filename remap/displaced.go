package remap

import "slices"

// Displaced is a run of a device that is not known to lie where it lay.
type Displaced struct {
	Start, Len Sector
	// Relayered tells that another kind of layer keeps it than before, which may
	// have kept any part of it anywhere: a snapshot that was merged back, a cache that
	// was taken away. Else the run lies in another place, as a whole.
	Relayered bool
}

// Places compares where devices lie in two snapshots, an earlier and a later one.
type Places struct {
	was, now *Stack
	same     func(was, now *Node) bool
	kept     map[Dev]bool
}

// NewPlaces compares two snapshots; same tells of two leaves whether they are one disk.
func NewPlaces(was, now *Stack, same func(was, now *Node) bool) *Places {
	return &Places{was: was, now: now, same: same, kept: make(map[Dev]bool)}
}

// Displaced lists, in order, the parts of r whose bytes, written when the earlier
// snapshot was true, are not known to be what is read when the later one is. What an
// opaque layer does with what it is given is not known, only that it does the same as
// before as long as it is what it was, and so is all that it rests on.
func (p *Places) Displaced(r Range) []Displaced {
	if p.unchanged(r.Dev) {
		return nil
	}
	left := []Displaced{{Start: r.Start, Len: r.Len}}
	// What is mapped for one side only lies where that side has it.
	for _, op := range []Op{Read, Write} {
		var list []Displaced
		for _, d := range left {
			list = p.displaced(Write, op, Range{r.Dev, d.Start, d.Len}, d.Relayered, list)
		}
		left = list
	}
	return left
}

// Reread lists, in order, the parts of r whose bytes, read when the earlier snapshot was
// true, are not known to be what is read when the later one is.
func (p *Places) Reread(r Range) []Displaced {
	if p.unchanged(r.Dev) {
		return nil
	}
	return p.displaced(Read, Read, r, false, nil)
}

// unchanged tells whether a device, and all below it, is what it was.
func (p *Places) unchanged(dev Dev) bool {
	return slices.EqualFunc(p.was.Under(dev), p.now.Under(dev), func(a, b *Node) bool { return a.Dev == b.Dev && a.Print == b.Print })
}

func (p *Places) displaced(then, op Op, r Range, relayered bool, list []Displaced) []Displaced {
	end := r.End()
	if n := p.now.Node(r.Dev); n == nil || n.Size < end {
		r.Len = 0
		if n != nil {
			r.Len = max(n.Size-r.Start, 0)
		}
	}
	was, err := p.was.Cursor(then, r)
	if err != nil {
		return appendDisplaced(list, r.Start, end, true)
	}
	now, err := p.now.Cursor(op, r)
	if err != nil {
		return appendDisplaced(list, r.Start, end, true)
	}
	var a, b Extent
	for at := r.Start; at < r.End(); {
		if a.Len == 0 && was.Next() {
			a = *was.Extent()
		}
		if b.Len == 0 && now.Next() {
			b = *now.Extent()
		}
		n := min(a.Len, b.Len)
		if !p.stays(then, op, &a, &b) {
			list = appendDisplaced(list, at, at+n, relayered || a.relayered(&b))
		}
		a.advance(n)
		b.advance(n)
		at += n
	}
	return appendDisplaced(list, r.End(), end, true)
}

func appendDisplaced(list []Displaced, from, to Sector, relayered bool) []Displaced {
	if from >= to {
		return list
	}
	if n := len(list); n > 0 && list[n-1].Start+list[n-1].Len == from && list[n-1].Relayered == relayered {
		list[n-1].Len += to - from
		return list
	}
	return append(list, Displaced{from, to - from, relayered})
}

// stays tells whether what was written to an extent, or read from it, is what is found at
// a later one.
func (p *Places) stays(then, op Op, was, now *Extent) bool {
	switch {
	case then == Read && was.Kind == now.Kind && (was.Kind == Zero || was.Kind == Error):
		return true
	case then == Read && was.Kind == Replica && now.Kind == Data: // all that could be read were equal
		return slices.ContainsFunc(was.Legs, func(w Leg) bool { return w.Readable && p.sameLeg(w, now.Leg) })
	case was.Kind == Data && now.Kind == Data:
		return p.sameLeg(was.Leg, now.Leg)
	case was.Kind == Cipher && now.Kind == Cipher:
		return SameCipher(was, now) && p.sameLeg(was.Leg, now.Leg)
	case was.Kind == Data && now.Kind == Replica:
		return p.among([]Leg{was.Leg}, now.Legs)
	case was.Kind == Replica && now.Kind == Replica:
		return p.among(was.Legs, now.Legs)
	case was.Kind == Opaque && now.Kind == Opaque:
		return op == then && was.Leg == now.Leg && was.Reason == now.Reason && p.keeps(was.Leg.Dev)
	}
	return false
}

// among tells whether each of the later legs that is read was one of the earlier.
func (p *Places) among(was, now []Leg) bool {
	readable := 0
	for _, l := range now {
		if !l.Readable {
			continue
		}
		readable++
		if !slices.ContainsFunc(was, func(w Leg) bool { return w.Readable && p.sameLeg(w, l) }) {
			return false
		}
	}
	return readable > 0
}

func (p *Places) sameLeg(was, now Leg) bool {
	return was.Start == now.Start && p.same(p.was.Node(was.Dev), p.now.Node(now.Dev))
}

// keeps tells whether an opaque device is what it was, and all that it rests on lies
// where it lay.
func (p *Places) keeps(dev Dev) bool {
	if known, ok := p.kept[dev]; ok {
		return known
	}
	p.kept[dev] = p.lookInto(dev)
	return p.kept[dev]
}

func (p *Places) lookInto(dev Dev) bool {
	was, now := p.was.Node(dev), p.now.Node(dev)
	if was.Print != now.Print || was.Layer == nil || now.Layer == nil || !slices.Equal(was.Layer.Below(), now.Layer.Below()) {
		return false
	}
	return !slices.ContainsFunc(was.Layer.Below(), func(lower Dev) bool {
		size := p.was.Node(lower).Size
		return size != p.now.Node(lower).Size || len(p.Displaced(Range{Dev: lower, Len: size})) > 0
	})
}

// relayered tells whether one of two extents lies in a layer of which nothing is known,
// or that keeps nothing, and that is not the same kind of layer in the other.
func (e *Extent) relayered(now *Extent) bool {
	return e.hides() && !now.Via.has(e.Via) || now.hides() && !e.Via.has(now.Via) || now.Kind == Zero || now.Kind == Error
}

func (e *Extent) hides() bool { return e.Kind == Opaque }

// has tells whether a link of the chain is the same layer of the same device.
func (v *Via) has(link *Via) bool {
	return slices.ContainsFunc(v.Chain(), func(l *Via) bool { return l.Dev == link.Dev && l.Layer == link.Layer })
}
