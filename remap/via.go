package remap

import "slices"

// Via is a chain of layers that an extent was mapped through, a linked list
// from the lowest layer up. One [Cursor], or [Pairer], gives equal chains equal pointers, so
// that chains compare in one step.
type Via struct {
	// Dev is the device that this layer makes up, Layer its name, such as
	// "dm:linear" or "partition".
	Dev   Dev
	Layer string

	upper *Via // nil in the root, which stands above the first layer
	lower []*Via
	last  int // the one of lower that was asked for last
	depth int // layers from the root to here, this one included
}

// below returns the one link for the layer of dev under v. It looks from the
// link of the last time on: walks stay on one, or go from stripe to stripe.
func (v *Via) below(dev Dev, layer string) *Via {
	for i := range v.lower {
		at := v.last + i
		if at >= len(v.lower) {
			at -= len(v.lower)
		}
		if l := v.lower[at]; l.Dev == dev && l.Layer == layer {
			v.last = at
			return l
		}
	}
	link := &Via{Dev: dev, Layer: layer, upper: v, depth: v.depth + 1}
	v.lower = append(v.lower, link)
	return link
}

// Chain lists the layers from the device that was asked about downwards. It is
// empty for a leaf.
func (v *Via) Chain() []*Via {
	var chain []*Via
	for ; v.upper != nil; v = v.upper {
		chain = append(chain, v)
	}
	slices.Reverse(chain)
	return chain
}

// Names lists the names of the layers in the order of [Via.Chain].
func (v *Via) Names() []string {
	names := []string{}
	for _, link := range v.Chain() {
		names = append(names, link.Layer)
	}
	return names
}
