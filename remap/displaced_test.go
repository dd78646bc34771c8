package remap_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// printed gives nodes the prints that their own layers have.
func printed(nodes ...*remap.Node) []*remap.Node {
	for _, n := range nodes {
		n.Print = sha256.Sum256(fmt.Appendf(nil, "%s %d %+v", n.Dev, n.Size, n.Layer))
	}
	return nodes
}

func sameNode(was, now *remap.Node) bool { return was.Dev == now.Dev && was.Print == now.Print }

func TestDisplaced(t *testing.T) {
	a, b := leafDev(0), leafDev(1)
	leaves := []*remap.Node{leaf(0, 1000), leaf(1, 1000)}
	layer := func(name string, runs ...run) *model { return &model{name: name, runs: runs} }
	dark := func(n remap.Sector, lower remap.Dev) run {
		return run{n: n, kind: remap.Opaque, reason: "layer:odd", legs: []remap.Leg{leg(lower, 0)}}
	}
	stale := func(l remap.Leg) remap.Leg { l.Readable = false; return l }
	whole := func(n remap.Sector, relayered bool) []remap.Displaced {
		return []remap.Displaced{{Len: n, Relayered: relayered}}
	}
	one := func(m *model) []*remap.Node { return []*remap.Node{node(0, m)} }
	for _, c := range []struct {
		name     string
		was, now []*remap.Node
		want     []remap.Displaced
	}{
		{"nothing happened", one(linear(data(100, a, 5))), one(linear(data(100, a, 5))), nil},
		{"another place", one(linear(data(100, a, 5))), one(linear(data(100, a, 6))), whole(100, false)},
		{"another disk", one(linear(data(100, a, 5))), one(linear(data(100, b, 5))), whole(100, false)},
		{"a part", one(linear(data(40, a, 5), data(60, a, 100))), one(linear(data(40, a, 5), data(30, a, 100), data(30, b, 130))),
			[]remap.Displaced{{Start: 70, Len: 30}}},
		{"longer", one(linear(data(100, a, 5))), one(linear(data(100, a, 5), data(10, a, 300))), nil},
		{"shorter", one(linear(data(100, a, 5))), one(linear(data(60, a, 5))), []remap.Displaced{{Start: 60, Len: 40, Relayered: true}}},
		{"gone", one(linear(data(100, a, 5))), nil, whole(100, true)},
		{"other layers, same place", one(linear(data(100, a, 5))),
			[]*remap.Node{node(1, linear(data(100, a, 5))), node(0, linear(data(100, dm(1), 0)))}, nil},
		{"a mirror of it, and one that is not in sync", one(linear(data(100, a, 5))), one(layer("dm:mirror", mirror(100, leg(a, 5), stale(leg(b, 5))))), nil},
		{"a mirror that claims to be in sync", one(linear(data(100, a, 5))), one(layer("dm:mirror", mirror(100, leg(a, 5), leg(b, 5)))), whole(100, false)},
		{"a mirror that has lost a leg", one(layer("dm:mirror", mirror(100, leg(a, 5), leg(b, 5)))), one(layer("dm:mirror", mirror(100, stale(leg(a, 5)), leg(b, 5)))), nil},
		{"a mirror that reads what it did not", one(layer("dm:mirror", mirror(100, leg(a, 5), stale(leg(b, 5))))), one(layer("dm:mirror", mirror(100, stale(leg(a, 5)), leg(b, 5)))), whole(100, false)},
		{"one leg of a mirror", one(layer("dm:mirror", mirror(100, leg(a, 5), leg(b, 5)))), one(linear(data(100, b, 5))), whole(100, false)},
		{"zeroes now", one(linear(data(100, a, 5))), one(layer("dm:zero", run{n: 100, kind: remap.Zero})), whole(100, true)},
		{"the same that is not understood", one(layer("dm:odd", dark(100, a))), one(layer("dm:odd", dark(100, a))), nil},
		{"another that is not understood, of the same kind", one(layer("dm:odd", dark(100, a))), one(layer("dm:odd", dark(100, a), dark(1, a))), whole(100, false)},
		{"another kind of layer", one(layer("dm:odd", dark(100, a))), one(layer("dm:strange", dark(100, a))), whole(100, true)},
		{"a layer is taken away", one(layer("dm:odd", dark(100, a))), one(linear(data(100, a, 0))), whole(100, true)},
		{"a layer is put in between", one(linear(data(100, a, 0))), one(layer("dm:odd", dark(100, a))), whole(100, true)},
		{"what is not understood rests on what stays",
			[]*remap.Node{node(1, linear(data(100, a, 0))), node(0, layer("dm:odd", dark(100, dm(1))))},
			[]*remap.Node{node(1, layer("dm:mirror", mirror(100, leg(a, 0), stale(leg(b, 0))))), node(0, layer("dm:odd", dark(100, dm(1))))}, nil},
		{"what is not understood rests on what moves",
			[]*remap.Node{node(1, linear(data(100, a, 0))), node(0, layer("dm:odd", dark(100, dm(1))))},
			[]*remap.Node{node(1, linear(data(100, a, 1))), node(0, layer("dm:odd", dark(100, dm(1))))}, whole(100, false)},
		{"enciphered, and moved", one(layer("dm:crypt", cipher(100, a, 0))), one(layer("dm:crypt", cipher(100, a, 1))), whole(100, false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := stack(t, slices.Concat(printed(leaves...), printed(c.was...))...)
			now := stack(t, slices.Concat(printed(leaves...), printed(c.now...))...)
			if got := remap.NewPlaces(was, now, sameNode).Displaced(remap.Range{Dev: dm(0), Len: 100}); !slices.Equal(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	t.Run("another disk of the same number", func(t *testing.T) {
		was := stack(t, append(printed(leaf(0, 1000)), printed(one(linear(data(100, a, 5)))...)...)...)
		now := stack(t, append(printed(leaf(0, 1001)), printed(one(linear(data(100, a, 5)))...)...)...)
		if got := remap.NewPlaces(was, now, sameNode).Displaced(remap.Range{Dev: dm(0), Len: 100}); !slices.Equal(got, whole(100, false)) {
			t.Errorf("got %+v", got)
		}
	})
}

// TestDisplacedEverywhere: whatever the stacks, a sector that is not displaced has a leg
// that it had, or is what is not understood and as it was.
func TestDisplacedEverywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, top := drawStack(t)
		after, _ := drawStack(t)
		dev := rapid.SampledFrom(top).Draw(t, "top")
		was, now := stackOf(t, printed(before.Nodes()...)), stackOf(t, printed(after.Nodes()...))
		size := was.Node(dev).Size
		displaced := make([]bool, size)
		at := remap.Sector(0)
		for _, d := range remap.NewPlaces(was, now, sameNode).Displaced(remap.Range{Dev: dev, Len: size}) {
			if d.Start < at || d.Len <= 0 || d.Start+d.Len > size {
				t.Fatalf("%+v after sector %d of %d", d, at, size)
			}
			at = d.Start + d.Len
			for s := d.Start; s < at; s++ {
				displaced[s] = true
			}
		}
		for s, is := range displaced {
			if is {
				continue
			}
			if now.Node(dev) == nil || remap.Sector(s) >= now.Node(dev).Size {
				t.Fatalf("sector %d is gone", s)
			}
			a, b := oracle(was, dev, remap.Sector(s)), oracle(now, dev, remap.Sector(s))
			for _, l := range b.legs {
				if l.Readable && was.Node(l.Dev).Print != now.Node(l.Dev).Print {
					t.Fatalf("sector %d: %v is another disk", s, l)
				}
			}
			if a.String() == b.String() {
				continue
			}
			for _, l := range b.legs {
				if l.Readable && !slices.Contains(a.legs, l) {
					t.Fatalf("sector %d: was %v, now %v", s, a, b)
				}
			}
		}
	})
}

func stackOf(t *rapid.T, nodes []*remap.Node) *remap.Stack {
	st, err := remap.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestReread: what was read of a source is what is read of it later, or is listed.
func TestReread(t *testing.T) {
	a, b := leafDev(0), leafDev(1)
	layer := func(name string, runs ...run) []*remap.Node {
		return []*remap.Node{node(0, &model{name: name, runs: runs})}
	}
	plain := func(dev remap.Dev, at remap.Sector) []*remap.Node { return layer("dm:linear", data(100, dev, at)) }
	stale := func(l remap.Leg) remap.Leg { l.Readable = false; return l }
	kind := func(k remap.Kind) []*remap.Node { return layer("dm:zero", run{n: 100, kind: k}) }
	odd := func(name string, lower remap.Dev) []*remap.Node {
		return layer(name, run{n: 100, kind: remap.Opaque, reason: "layer:odd", legs: []remap.Leg{leg(lower, 0)}})
	}
	all := func(relayered bool) []remap.Displaced { return []remap.Displaced{{Len: 100, Relayered: relayered}} }
	for _, c := range []struct {
		name     string
		was, now []*remap.Node
		want     []remap.Displaced
	}{
		{"nothing happened", plain(a, 5), plain(a, 5), nil},
		{"another place", plain(a, 5), plain(a, 6), all(false)},
		{"another disk", plain(a, 5), plain(b, 5), all(false)},
		{"gone", plain(a, 5), nil, all(true)},
		{"zeroes", kind(remap.Zero), layer("dm:zero", run{n: 50, kind: remap.Zero}, run{n: 50, kind: remap.Zero}, run{n: 1, kind: remap.Zero}), nil},
		{"zeroes no more", kind(remap.Zero), plain(a, 5), all(false)},
		{"zeroes now", plain(a, 5), kind(remap.Zero), all(true)},
		{"errors", kind(remap.Error), layer("dm:error", run{n: 100, kind: remap.Error}), nil},
		{"a mirror is made of it", plain(a, 5), layer("dm:mirror", mirror(100, leg(a, 5), stale(leg(b, 5)))), nil},
		{"one leg of a mirror", layer("dm:mirror", mirror(100, leg(a, 5), leg(b, 5))), plain(b, 5), nil},
		{"a leg that was not in sync", layer("dm:mirror", mirror(100, leg(a, 5), stale(leg(b, 5)))), plain(b, 5), all(false)},
		{"the same that is not understood", odd("dm:odd", a), odd("dm:odd", a), nil},
		{"it rests on something else", odd("dm:odd", a), odd("dm:odd", b), all(false)},
		{"another kind of layer", odd("dm:odd", a), odd("dm:strange", a), all(true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaves := printed(leaf(0, 1000), leaf(1, 1000))
			was := stack(t, slices.Concat(leaves, printed(c.was...))...)
			now := stack(t, slices.Concat(leaves, printed(c.now...))...)
			if got := remap.NewPlaces(was, now, sameNode).Reread(remap.Range{Dev: dm(0), Len: 100}); !slices.Equal(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
