package journal

import (
	"cmp"
	"slices"
)

// Status of a part of the destination; the signs are those of ddrescue.
type Status byte

const (
	// Pending: yet to be copied.
	Pending Status = '?'
	// Done: copied, and durable.
	Done Status = '+'
	// Bad: the source could not be read there.
	Bad Status = '-'
)

// Extent is a part of the destination.
type Extent struct {
	Off, Len int64
	Status   Status
	// Method is how it was done, for people; empty unless it is done.
	Method string
}

func (e Extent) end() int64 { return e.Off + e.Len }

// part cuts the extent to [from, to).
func (e Extent) part(from, to int64) Extent {
	e.Off, e.Len = from, to-from
	return e
}

// joins tells whether next goes on where e ends, in the same way.
func (e Extent) joins(next Extent) bool {
	return e.end() == next.Off && e.Status == next.Status && e.Method == next.Method
}

// Map says what is known of the destination. What is pending is not in it.
type Map struct {
	// extents are in order, disjoint, and joined with their neighbours.
	extents []Extent
}

// Extents lists the map in order.
func (m *Map) Extents() []Extent { return slices.Clone(m.extents) }

// Empty tells that nothing is known.
func (m *Map) Empty() bool { return len(m.extents) == 0 }

// Put makes the extent part of the map. It replaces what was known of these
// bytes.
func (m *Map) Put(e Extent) {
	if e.Len <= 0 {
		return
	}
	first, _ := slices.BinarySearchFunc(m.extents, e.Off, func(x Extent, off int64) int { return cmp.Compare(x.end(), off) })
	var parts []Extent
	last := first
	for ; last < len(m.extents) && m.extents[last].Off <= e.end(); last++ {
		x := m.extents[last]
		if x.Off < e.Off {
			parts = append(parts, x.part(x.Off, min(x.end(), e.Off)))
		}
	}
	if e.Status != Pending {
		parts = append(parts, e)
	}
	for _, x := range m.extents[first:last] {
		if x.end() > e.end() {
			parts = append(parts, x.part(max(x.Off, e.end()), x.end()))
		}
	}
	m.extents = slices.Replace(m.extents, first, last, joined(parts)...)
}

// joined joins neighbours that are alike.
func joined(extents []Extent) []Extent {
	var list []Extent
	for _, e := range extents {
		if n := len(list); n > 0 && list[n-1].joins(e) {
			list[n-1].Len += e.Len
		} else {
			list = append(list, e)
		}
	}
	return list
}

// forgetMethods makes the map smaller.
func (m *Map) forgetMethods() {
	for i := range m.extents {
		m.extents[i].Method = ""
	}
	m.extents = joined(m.extents)
}

// Bytes counts the bytes of a status other than Pending.
func (m *Map) Bytes(s Status) int64 {
	var sum int64
	for _, e := range m.extents {
		if e.Status == s {
			sum += e.Len
		}
	}
	return sum
}
