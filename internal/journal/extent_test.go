package journal

import (
	"testing"

	"pgregory.net/rapid"
)

// TestMap compares a map with one that has an entry for every byte.
func TestMap(t *testing.T) {
	type cell struct {
		status Status
		method string
	}
	rapid.Check(t, func(t *rapid.T) {
		const size = 24
		var m Map
		model := make([]cell, size)
		for range rapid.IntRange(0, 30).Draw(t, "count") {
			off := rapid.Int64Range(0, size-1).Draw(t, "off")
			e := Extent{
				Off: off, Len: rapid.Int64Range(0, size-off).Draw(t, "len"),
				Status: rapid.SampledFrom([]Status{Pending, Done, Bad}).Draw(t, "status"),
			}
			if e.Status == Done {
				e.Method = rapid.SampledFrom([]string{"", "host", "nvme-copy"}).Draw(t, "method")
			}
			m.Put(e)
			for i := e.Off; i < e.end(); i++ {
				model[i] = cell{e.Status, e.Method}
				if e.Status == Pending {
					model[i] = cell{}
				}
			}
			at := int64(0)
			for i, e := range m.Extents() {
				if e.Off < at || e.Len <= 0 || i > 0 && m.extents[i-1].joins(e) {
					t.Fatalf("not in order and joined: %+v", m.extents)
				}
				at = e.end()
			}
			found := make([]cell, size)
			for _, e := range m.extents {
				for i := e.Off; i < e.end(); i++ {
					found[i] = cell{e.Status, e.Method}
				}
			}
			for i := range model {
				if found[i] != model[i] {
					t.Fatalf("byte %d is %+v, want %+v: %+v", i, found[i], model[i], m.extents)
				}
			}
		}
		var done int64
		for _, c := range model {
			if c.status == Done {
				done++
			}
		}
		if m.Bytes(Done) != done {
			t.Fatalf("%d bytes are done, want %d", m.Bytes(Done), done)
		}
		m.forgetMethods()
		if m.Bytes(Done) != done {
			t.Fatalf("%d bytes are done without methods, want %d", m.Bytes(Done), done)
		}
	})
}

// TestLies tells maps within ranges from others.
func TestLies(t *testing.T) {
	var m Map
	m.Put(Extent{Off: 10, Len: 5, Status: Done})
	m.Put(Extent{Off: 20, Len: 5, Status: Bad})
	for _, c := range []struct {
		ranges []Range
		want   bool
	}{
		{nil, false},
		{[]Range{{0, 10, 15}}, true},
		{[]Range{{100, 20, 5}, {0, 10, 5}}, true},
		{[]Range{{0, 10, 5}}, false},
		{[]Range{{0, 10, 4}, {0, 20, 5}}, false},
		{[]Range{{0, 11, 4}, {0, 20, 5}}, false},
	} {
		if got := m.lies(c.ranges); got != c.want {
			t.Errorf("%v: %v", c.ranges, got)
		}
	}
}
