package remap_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// TestFootprint: who shares sectors with whom, and who only seems to.
func TestFootprint(t *testing.T) {
	a, b := leafDev(1), leafDev(2)
	two := []*remap.Node{leaf(1, 1<<20), leaf(2, 1<<20)}
	opaque := func(lower ...remap.Dev) *model {
		r := run{n: 100, kind: remap.Opaque, reason: "layer:odd"}
		for _, dev := range lower {
			r.legs = append(r.legs, leg(dev, 0))
		}
		return linear(r)
	}
	coordinated := func(n *remap.Node, devs ...remap.Dev) *remap.Node { n.Coordinated = devs; return n }
	stored := func(n *remap.Node, s remap.Storage) *remap.Node { n.Storage = &s; return n }
	for name, c := range map[string]struct {
		nodes []*remap.Node
		meet  bool
	}{
		"apart on one disk":                {[]*remap.Node{node(0, linear(data(50, a, 0), data(50, a, 200))), node(1, linear(data(100, a, 50)))}, false},
		"overlapping":                      {[]*remap.Node{node(0, linear(data(50, a, 0), data(50, a, 200))), node(1, linear(data(100, a, 249)))}, true},
		"one below the other":              {[]*remap.Node{node(1, linear(data(100, a, 7))), node(0, linear(data(10, dm(1), 90)))}, true},
		"equal places of disks":            {[]*remap.Node{node(0, linear(data(100, a, 0))), node(1, linear(data(100, b, 0)))}, false},
		"one leg of a mirror":              {[]*remap.Node{node(0, linear(mirror(50, leg(a, 100), leg(b, 200)))), node(1, linear(data(10, b, 245)))}, true},
		"beside a mirror":                  {[]*remap.Node{node(0, linear(mirror(50, leg(a, 100), leg(b, 200)))), node(1, linear(data(10, b, 250)))}, false},
		"partitions of a mirror":           {[]*remap.Node{node(2, linear(mirror(100, leg(a, 0), leg(b, 0)))), node(0, linear(data(50, dm(2), 0))), node(1, linear(data(50, dm(2), 50)))}, false},
		"not understood":                   {[]*remap.Node{node(0, opaque(a, b)), node(1, linear(data(10, b, 900)))}, true},
		"not understood, elsewhere":        {[]*remap.Node{node(2, linear(data(100, a, 500))), node(0, opaque(dm(2))), node(1, linear(data(100, a, 600)))}, false},
		"parts of what is not understood":  {[]*remap.Node{node(2, opaque(a)), node(0, linear(data(50, dm(2), 0))), node(1, linear(data(50, dm(2), 50)))}, false},
		"of one pool":                      {[]*remap.Node{node(2, opaque(a)), coordinated(node(0, opaque(dm(2))), dm(2)), coordinated(node(1, opaque(dm(2))), dm(2))}, false},
		"of one pool, and not coordinated": {[]*remap.Node{node(2, opaque(a)), coordinated(node(0, opaque(dm(2))), dm(2)), node(1, opaque(dm(2)))}, true},
		"below a pool":                     {[]*remap.Node{node(2, opaque(a)), coordinated(node(0, opaque(dm(2))), dm(2)), node(1, linear(data(10, a, 5)))}, true},
		"in one file":                      {[]*remap.Node{stored(node(0, opaque()), remap.Storage{ID: "f", Start: 0}), stored(node(1, opaque()), remap.Storage{ID: "f", Start: 99})}, true},
		"in one file, one behind another":  {[]*remap.Node{stored(node(0, opaque()), remap.Storage{ID: "f", Start: 0}), stored(node(1, opaque()), remap.Storage{ID: "f", Start: 100})}, false},
		"in one sector of a file":          {[]*remap.Node{stored(node(0, opaque()), remap.Storage{ID: "f", Start: 0, Ragged: true}), stored(node(1, opaque()), remap.Storage{ID: "f", Start: 100})}, true},
		"in files of one name":             {[]*remap.Node{stored(node(0, opaque()), remap.Storage{Name: "f"}), stored(node(1, opaque()), remap.Storage{Name: "f"})}, true},
		"in two files":                     {[]*remap.Node{stored(node(0, opaque()), remap.Storage{ID: "f"}), stored(node(1, opaque()), remap.Storage{ID: "g"})}, false},
		"loop on a disk":                   {[]*remap.Node{stored(node(0, opaque(a)), remap.Storage{ID: "block", Start: 100}), node(1, linear(data(10, a, 199)))}, true},
		"beside a loop on a disk":          {[]*remap.Node{stored(node(0, opaque(a)), remap.Storage{ID: "block", Start: 100}), node(1, linear(data(100, a, 0), data(10, a, 200)))}, false},
		"metadata of a layer":              {[]*remap.Node{node(0, linear(data(50, a, 0), run{n: 50, kind: remap.Zero, legs: []remap.Leg{leg(b, 0)}})), node(1, linear(data(10, b, 900)))}, true},
		"many runs":                        {[]*remap.Node{node(0, striped(20000, 2, leg(a, 0), leg(b, 0))), node(1, linear(data(10, a, 9999)))}, true},
	} {
		t.Run(name, func(t *testing.T) {
			st := stack(t, append(slices.Clone(two), c.nodes...)...)
			for _, ends := range [][2]int{{0, 1}, {1, 0}} {
				one, other := st.Footprint(dm(ends[0])), st.Footprint(dm(ends[1]))
				if on, meets := one.Overlaps(other); meets != c.meet || meets && on == nil {
					t.Errorf("%v: they meet: %v, on %v", ends, meets, on)
				}
			}
		})
	}
}

// TestFootprintUnknown: what is not known where it lies is everywhere; and who writes
// to what arranges others may belong to it.
func TestFootprintUnknown(t *testing.T) {
	a := leafDev(1)
	blind := node(2, linear(run{n: 10, kind: remap.Opaque, reason: "layer:odd"}))
	blind.LowerUnknown = true
	member := node(3, linear(data(10, a, 0)))
	member.Coordinated = []remap.Dev{a}
	st := stack(t, leaf(1, 1000), node(0, linear(data(10, a, 0))), node(1, linear(data(10, a, 100))), blind, member)
	meets := func(one, other *remap.Footprint) bool { _, yes := one.Overlaps(other); return yes }
	for _, dev := range []remap.Dev{dm(2), dm(9)} {
		if !meets(st.Footprint(dm(0)), st.Footprint(dev)) || !meets(st.Footprint(dev), st.Footprint(dm(0))) {
			t.Errorf("%v lies nowhere", dev)
		}
	}
	if meets(st.Footprint(dm(0)), st.Footprint(dm(1))) {
		t.Error("what is known is everywhere")
	}
	if meets(st.Footprint(dm(3)), st.Footprint(a).WithoutArranged()) || !meets(st.Footprint(dm(3)), st.Footprint(a)) || !meets(st.Footprint(dm(0)), st.Footprint(a).WithoutArranged()) {
		t.Error("who writes to a member")
	}
	file := st.FootprintOf(&remap.Storage{ID: "f"})
	if meets(file, st.Footprint(dm(0))) || !meets(file, st.FootprintOf(&remap.Storage{ID: "f"})) {
		t.Error("files")
	}
}

// TestFootprintMisses: no two devices that resolve to one sector are taken to have nothing
// to do with each other, unless a device above it keeps them apart.
func TestFootprintMisses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, top := drawStack(t)
		a, b := rapid.SampledFrom(top).Draw(t, "a"), rapid.SampledFrom(top).Draw(t, "b")
		under := st.Under(b)
		for _, n := range st.Under(a) {
			if n.Layer != nil && slices.Contains(under, n) {
				return
			}
		}
		for op, at := range leafSectors(t, st, a) {
			for sector := range at {
				if _, shared := leafSectors(t, st, b)[op][sector]; shared {
					if _, meets := st.Footprint(a).Overlaps(st.Footprint(b)); !meets {
						t.Fatalf("%v and %v share %v", a, b, sector)
					}
					return
				}
			}
		}
	})
}

// leafSectors are the sectors of leaves that a device resolves to.
func leafSectors(t *rapid.T, st *remap.Stack, dev remap.Dev) map[remap.Op]map[remap.Leg]bool {
	all := map[remap.Op]map[remap.Leg]bool{}
	for _, op := range []remap.Op{remap.Read, remap.Write} {
		all[op] = map[remap.Leg]bool{}
		for e, err := range st.Resolve(op, remap.Range{Dev: dev, Len: st.Node(dev).Size}) {
			if err != nil {
				t.Fatal(err)
			}
			legs := e.Legs
			if e.Kind == remap.Data || e.Kind == remap.Cipher {
				legs = []remap.Leg{e.Leg}
			}
			for _, l := range legs {
				for i := range e.Len {
					all[op][remap.Leg{Dev: l.Dev, Start: l.Start + i}] = true
				}
			}
		}
	}
	return all
}
