package fakestack

import "github.com/dmcopy/dmcopy/remap"

// mapping answers for one segment, as [remap.Layer.Map] does for a device.
type mapping func(op remap.Op, off, n remap.Sector) remap.Place

// A placer is a target that tells by itself where it lies, instead of by a line
// for package dmtable. What it tells stays as it was at the time.
type placer interface{ freeze() mapping }

// ownMap is the layer of a table of which some segments map themselves.
type ownMap struct {
	starts []remap.Sector // of each segment, and the end of the last
	own    []mapping      // nil for a segment that dm maps
	dm     remap.Layer
	lower  []remap.Dev
}

// Map implements remap.Layer.
func (l ownMap) Map(op remap.Op, s, n remap.Sector) remap.Place {
	for i, own := range l.own {
		if s >= l.starts[i+1] {
			continue
		}
		n = min(n, l.starts[i+1]-s)
		if own == nil {
			return l.dm.Map(op, s, n)
		}
		return own(op, s-l.starts[i], n)
	}
	return l.dm.Map(op, s, n)
}

// Below implements remap.Layer.
func (l ownMap) Below() []remap.Dev { return l.lower }
