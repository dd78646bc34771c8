package remap_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

func stack(t testing.TB, nodes ...*remap.Node) *remap.Stack {
	t.Helper()
	st, err := remap.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// text is an extent as the golden lists below write it.
func text(e *remap.Extent) string {
	s := fmt.Sprintf("%d+%d %s", e.Start, e.Len, e.Kind)
	for _, l := range at(e, 0).legs {
		s += fmt.Sprintf(" %s@%d", l.Dev, l.Start)
		if !l.Readable {
			s += "!"
		}
	}
	if e.Reason != "" {
		s += " " + string(e.Reason)
	}
	return s + " | " + strings.Join(e.Via.Names(), " ")
}

func resolve(t testing.TB, st *remap.Stack, op remap.Op, r remap.Range) []string {
	t.Helper()
	var found []string
	for e, err := range st.Resolve(op, r) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, text(&e))
	}
	return found
}

func TestResolve(t *testing.T) {
	a, b := leafDev(0), leafDev(1)
	const tib = remap.Sector(1) << 31
	tests := []struct {
		name  string
		nodes []*remap.Node
		r     remap.Range
		want  []string
	}{
		{"a leaf is itself", nil, remap.Range{Dev: a, Start: 5, Len: 7}, []string{"5+7 data 8:0@5 | "}},
		{"nothing", nil, remap.Range{Dev: a, Start: 5}, nil},
		{"linear", []*remap.Node{node(0, linear(data(100, a, 1000)))}, remap.Range{Dev: dm(0), Start: 10, Len: 20},
			[]string{"10+20 data 8:0@1010 | dm:linear"}},
		{"neighbours are joined", []*remap.Node{node(0, linear(data(10, a, 1000), data(10, a, 1010), data(10, a, 1021)))}, remap.Range{Dev: dm(0), Len: 30},
			[]string{"0+20 data 8:0@1000 | dm:linear", "20+10 data 8:0@1021 | dm:linear"}},
		{"neighbours on other disks are not", []*remap.Node{node(0, linear(data(10, a, 1000), data(10, b, 1010)))}, remap.Range{Dev: dm(0), Len: 20},
			[]string{"0+10 data 8:0@1000 | dm:linear", "10+10 data 8:1@1010 | dm:linear"}},
		{"short answers are joined", []*remap.Node{node(0, &model{name: "dm:linear", step: 1, runs: []run{data(50, a, 7)}})}, remap.Range{Dev: dm(0), Start: 1, Len: 48},
			[]string{"1+48 data 8:0@8 | dm:linear"}},
		{"ways of other layers are not joined", []*remap.Node{
			node(0, linear(data(10, a, 100))), node(1, linear(data(10, a, 110))), node(2, linear(data(10, dm(0), 0), data(10, dm(1), 0)))},
			remap.Range{Dev: dm(2), Len: 20},
			[]string{"0+10 data 8:0@100 | dm:linear dm:linear", "10+10 data 8:0@110 | dm:linear dm:linear"}},
		{"stripes", []*remap.Node{node(0, striped(64, 8, leg(a, 100), leg(b, 200)))}, remap.Range{Dev: dm(0), Start: 4, Len: 24},
			[]string{"4+4 data 8:0@104 | dm:striped", "8+8 data 8:1@200 | dm:striped", "16+8 data 8:0@108 | dm:striped", "24+4 data 8:1@208 | dm:striped"}},
		{"one stripe is linear", []*remap.Node{node(0, striped(64, 8, leg(a, 100)))}, remap.Range{Dev: dm(0), Start: 4, Len: 24},
			[]string{"4+24 data 8:0@104 | dm:striped"}},
		{"linear on stripes on linear", []*remap.Node{
			node(0, linear(data(64, a, 1000))), node(1, linear(data(64, b, 2000))),
			node(2, striped(128, 16, leg(dm(0), 0), leg(dm(1), 0))), node(3, linear(data(32, dm(2), 8)))},
			remap.Range{Dev: dm(3), Len: 32},
			[]string{"0+8 data 8:0@1008 | dm:linear dm:striped dm:linear", "8+16 data 8:1@2000 | dm:linear dm:striped dm:linear", "24+8 data 8:0@1016 | dm:linear dm:striped dm:linear"}},
		{"beyond 2 TiB", []*remap.Node{node(0, linear(data(4*tib, leafDev(9), 3*tib), data(4*tib, leafDev(9), 100*tib)))},
			remap.Range{Dev: dm(0), Start: 3 * tib, Len: 2 * tib},
			[]string{fmt.Sprintf("%d+%d data 8:9@%d | dm:linear", 3*tib, tib, 6*tib), fmt.Sprintf("%d+%d data 8:9@%d | dm:linear", 4*tib, tib, 100*tib)}},
		{"stripes beyond 2 TiB", []*remap.Node{node(0, striped(32*tib, 128, leg(leafDev(9), 5), leg(leafDev(9), 40*tib)))},
			remap.Range{Dev: dm(0), Start: 30*tib + 128, Len: 128},
			[]string{fmt.Sprintf("%d+128 data 8:9@%d | dm:striped", 30*tib+128, 55*tib)}},
		{"zero, error, opaque", []*remap.Node{node(0, linear(run{n: 5, kind: remap.Zero}, run{n: 5, kind: remap.Error}, run{n: 5, kind: remap.Opaque, reason: "layer:thin"}))},
			remap.Range{Dev: dm(0), Start: 1, Len: 14},
			[]string{"1+4 zero | dm:linear", "5+5 error layer:error | dm:linear", "10+5 opaque layer:thin | dm:linear"}},
		{"replica", []*remap.Node{node(0, linear(mirror(50, leg(a, 100), remap.Leg{Dev: b, Start: 200})))}, remap.Range{Dev: dm(0), Start: 3, Len: 9},
			[]string{"3+9 replica 8:0@103 8:1@203! | dm:linear"}},
		{"replica of replicas", []*remap.Node{
			node(0, linear(mirror(50, leg(a, 100), remap.Leg{Dev: b, Start: 200}))), node(1, linear(mirror(50, remap.Leg{Dev: dm(0)}, leg(a, 500))))},
			remap.Range{Dev: dm(1), Len: 50},
			[]string{"0+50 replica 8:0@100! 8:1@200! 8:0@500 | dm:linear"}},
		{"legs of different lengths", []*remap.Node{
			node(0, linear(data(10, a, 0), data(40, a, 100))), node(1, linear(mirror(50, leg(dm(0), 0), leg(b, 7))))},
			remap.Range{Dev: dm(1), Len: 50},
			[]string{"0+10 replica 8:0@0 8:1@7 | dm:linear", "10+40 replica 8:0@100 8:1@17 | dm:linear"}},
		{"cipher", []*remap.Node{node(0, linear(cipher(50, a, 100))), node(1, linear(data(20, dm(0), 5)))}, remap.Range{Dev: dm(1), Len: 20},
			[]string{"0+20 cipher 8:0@105 | dm:linear dm:linear"}},
		{"below the end of a device", []*remap.Node{node(0, linear(data(50, a, 1<<20)))}, remap.Range{Dev: dm(0), Len: 50},
			[]string{"0+50 opaque layer:impossible-map | dm:linear"}},
		{"across the end of a device", []*remap.Node{node(0, linear(data(50, a, 1<<16-49)))}, remap.Range{Dev: dm(0), Len: 50},
			[]string{"0+50 opaque layer:impossible-map | dm:linear"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := stack(t, append(tt.nodes, leaf(0, 1<<16), leaf(1, 1<<16), leaf(9, 200*tib))...)
			for _, op := range []remap.Op{remap.Read, remap.Write} {
				if got := resolve(t, st, op, tt.r); !slices.Equal(got, tt.want) {
					t.Errorf("%s:\n got %q\nwant %q", op, got, tt.want)
				}
			}
		})
	}
}

// TestCipherHides: below a cipher nothing may look like plain data, whatever is
// there, and neither may what a cipher makes of zeroes.
func TestCipherHides(t *testing.T) {
	below := map[string]run{
		"zero":    {n: 50, kind: remap.Zero},
		"replica": mirror(50, leg(leafDev(0), 0), leg(leafDev(1), 0)),
		"error":   {n: 50, kind: remap.Error},
		"data":    data(50, leafDev(0), 0),
		"cipher":  cipher(50, leafDev(0), 0),
	}
	for name, r := range below {
		t.Run(name, func(t *testing.T) {
			st := stack(t, leaf(0, 100), leaf(1, 100), node(0, linear(r)), node(1, linear(cipher(50, dm(0), 0))))
			for e := range st.Resolve(remap.Read, remap.Range{Dev: dm(1), Len: 50}) {
				switch e.Kind {
				case remap.Data, remap.Replica, remap.Zero:
					t.Errorf("%s below a cipher resolves as %s", name, text(&e))
				case remap.Opaque:
					if e.Reason == "" {
						t.Error("opaque without a reason")
					}
				}
			}
		})
	}
}

// TestOpaqueHasReason: whatever a leg of a replica is made of.
func TestOpaqueHasReason(t *testing.T) {
	for _, kind := range []remap.Kind{remap.Zero, remap.Cipher, remap.Error} {
		r := run{n: 50, kind: kind}
		if kind == remap.Cipher {
			r = cipher(50, leafDev(0), 0)
		}
		st := stack(t, leaf(0, 100), leaf(1, 100), node(0, linear(r)), node(1, linear(mirror(50, leg(leafDev(1), 0), leg(dm(0), 0)))))
		for e := range st.Resolve(remap.Read, remap.Range{Dev: dm(1), Len: 50}) {
			if e.Kind != remap.Opaque || e.Reason == "" {
				t.Errorf("a replica with a leg of %s is %s", kind, text(&e))
			}
		}
	}
}

// TestImpossibleMaps: answers that cannot be true make the range opaque.
func TestImpossibleMaps(t *testing.T) {
	places := map[string]remap.Place{
		"no length":        {Kind: remap.Data, Leg: leg(leafDev(0), 0)},
		"negative length":  {Len: -1, Kind: remap.Data, Leg: leg(leafDev(0), 0)},
		"too long":         {Len: 51, Kind: remap.Data, Leg: leg(leafDev(0), 0)},
		"negative place":   {Len: 50, Kind: remap.Data, Leg: leg(leafDev(0), -1)},
		"huge place":       {Len: 50, Kind: remap.Data, Leg: leg(leafDev(0), 1<<63-1)},
		"unknown device":   {Len: 50, Kind: remap.Data, Leg: leg(leafDev(7), 0)},
		"unknown kind":     {Len: 50, Leg: leg(leafDev(0), 0)},
		"future kind":      {Len: 50, Kind: 99, Leg: leg(leafDev(0), 0)},
		"no legs":          {Len: 50, Kind: remap.Replica},
		"an unknown leg":   {Len: 50, Kind: remap.Replica, Legs: []remap.Leg{leg(leafDev(0), 0), leg(leafDev(7), 0)}},
		"a leg beyond end": {Len: 50, Kind: remap.Replica, Legs: []remap.Leg{leg(leafDev(0), 51)}},
	}
	for name, p := range places {
		t.Run(name, func(t *testing.T) {
			st := stack(t, leaf(0, 100), &remap.Node{Dev: dm(0), Size: 50, BlockSize: 512, Layer: constant{p}})
			got := resolve(t, st, remap.Read, remap.Range{Dev: dm(0), Len: 50})
			if want := []string{"0+50 opaque layer:impossible-map | dm:odd"}; !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestUndeclared: a layer that maps to a device which it does not list as one
// below it, such as its own, must not be followed for ever.
func TestUndeclared(t *testing.T) {
	for name, p := range map[string]remap.Place{
		"data":    {Len: 50, Kind: remap.Data, Leg: leg(dm(0), 0)},
		"replica": {Len: 50, Kind: remap.Replica, Legs: []remap.Leg{leg(dm(0), 0)}},
	} {
		st := stack(t, leaf(0, 100), &remap.Node{Dev: dm(0), Size: 50, BlockSize: 512, Layer: constant{p}})
		got := resolve(t, st, remap.Read, remap.Range{Dev: dm(0), Len: 50})
		if len(got) != 1 || !strings.Contains(got[0], "0+50 opaque layer:impossible-map") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// constant is a Layer with one answer.
type constant struct{ remap.Place }

func (c constant) Map(remap.Op, remap.Sector, remap.Sector) remap.Place {
	c.Place.Layer = "dm:odd"
	return c.Place
}
func (constant) Below() []remap.Dev { return []remap.Dev{leafDev(0)} }

func TestOutOfRange(t *testing.T) {
	st := stack(t, leaf(0, 100), node(0, linear(data(50, leafDev(0), 0))))
	for _, r := range []remap.Range{
		{Dev: dm(0), Start: -1, Len: 1}, {Dev: dm(0), Start: 0, Len: 51}, {Dev: dm(0), Start: 50, Len: 1}, {Dev: dm(0), Start: 51},
		{Dev: dm(0), Start: 1, Len: -1}, {Dev: dm(0), Start: 1<<63 - 1, Len: 1}, {Dev: dm(0), Start: 1, Len: 1<<63 - 1},
	} {
		extents := 0
		for _, err := range st.Resolve(remap.Read, r) {
			var e *remap.StackError
			if !errors.Is(err, remap.ErrOutOfRange) || !errors.As(err, &e) || e.Dev != dm(0) || !strings.Contains(err.Error(), "dm-0") {
				t.Errorf("%v: %v", r, err)
			}
			extents++
		}
		if extents != 1 {
			t.Errorf("%v: %d answers", r, extents)
		}
	}
	for _, err := range st.Resolve(remap.Read, remap.Range{Dev: dm(9)}) {
		if !errors.Is(err, remap.ErrUnknownDevice) {
			t.Error(err)
		}
	}
}

func TestNew(t *testing.T) {
	chain := func(n int) []*remap.Node {
		nodes := []*remap.Node{leaf(0, 10)}
		below := leafDev(0)
		for i := range n {
			nodes = append(nodes, node(i, linear(data(10, below, 0))))
			below = dm(i)
		}
		return nodes
	}
	on := func(i int, below remap.Dev) *remap.Node { return node(i, linear(data(10, below, 0))) }
	tests := []struct {
		name  string
		nodes []*remap.Node
		want  error
	}{
		{"empty", nil, nil},
		{"as deep as can be", chain(remap.MaxDepth), nil},
		{"too deep", chain(remap.MaxDepth + 1), remap.ErrTooDeep},
		{"far too deep", chain(5000), remap.ErrTooDeep},
		{"on itself", []*remap.Node{on(0, dm(0))}, remap.ErrCycle},
		{"on one another", []*remap.Node{on(0, dm(1)), on(1, dm(2)), on(2, dm(0))}, remap.ErrCycle},
		{"above a cycle", []*remap.Node{on(0, dm(1)), on(1, dm(1))}, remap.ErrCycle},
		{"on nothing", []*remap.Node{on(0, dm(1))}, remap.ErrUnknownDevice},
		{"twice", []*remap.Node{leaf(0, 10), leaf(0, 10)}, remap.ErrDuplicate},
		{"shared below", []*remap.Node{leaf(0, 10), on(0, leafDev(0)), on(1, leafDev(0)), node(2, linear(data(10, dm(0), 0), data(10, dm(1), 0)))}, nil},
		{"negative size", []*remap.Node{leaf(0, -1)}, remap.ErrBadNode},
		{"too big", []*remap.Node{leaf(0, remap.MaxSectors+1)}, remap.ErrBadNode},
		{"as big as can be", []*remap.Node{leaf(0, remap.MaxSectors)}, nil},
		{"neither leaf nor mapped", []*remap.Node{{Dev: dm(0), BlockSize: 512}}, remap.ErrBadNode},
		{"leaf and mapped", []*remap.Node{{Dev: dm(0), BlockSize: 512, Leaf: &remap.Leaf{}, Layer: &model{}}}, remap.ErrBadNode},
		{"odd block", []*remap.Node{{Dev: dm(0), BlockSize: 520, Leaf: &remap.Leaf{}}}, remap.ErrBadNode},
		{"small block", []*remap.Node{{Dev: dm(0), BlockSize: 256, Leaf: &remap.Leaf{}}}, remap.ErrBadNode},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			slices.Reverse(tt.nodes) // the order does not matter
			_, err := remap.New(tt.nodes)
			if !errors.Is(err, tt.want) {
				t.Fatal(err)
			}
			var e *remap.StackError
			if err != nil && (!errors.As(err, &e) || e.Dev.IsZero()) {
				t.Errorf("%v names no device", err)
			}
		})
	}
}

func TestUnder(t *testing.T) {
	st := stack(t, leaf(0, 10), leaf(1, 10), leaf(2, 10), node(0, linear(data(10, leafDev(0), 0))),
		node(1, linear(data(10, dm(0), 0), data(10, leafDev(1), 0), data(10, leafDev(0), 0))))
	var found []remap.Dev
	for _, n := range st.Under(dm(1)) {
		found = append(found, n.Dev)
	}
	if want := []remap.Dev{dm(1), dm(0), leafDev(0), leafDev(1)}; !slices.Equal(found, want) {
		t.Errorf("%v", found)
	}
	if st.Under(dm(7)) != nil {
		t.Error("something is below nothing")
	}
}

func TestPair(t *testing.T) {
	st := stack(t, leaf(0, 1000), leaf(1, 1000),
		node(0, linear(data(30, leafDev(0), 100), data(70, leafDev(0), 300))),
		node(1, linear(data(60, leafDev(1), 200), data(40, leafDev(0), 500))))
	var found []string
	for p, err := range remap.Pair(st, remap.Range{Dev: dm(0), Start: 10, Len: 80}, st, remap.Range{Dev: dm(1), Start: 20, Len: 80}) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Len() != p.Dst.Len {
			t.Errorf("%d sectors to %d", p.Len(), p.Dst.Len)
		}
		found = append(found, text(&p.Src)+" > "+text(&p.Dst))
	}
	want := []string{
		"10+20 data 8:0@110 | dm:linear > 20+20 data 8:1@220 | dm:linear",
		"30+20 data 8:0@300 | dm:linear > 40+20 data 8:1@240 | dm:linear",
		"50+40 data 8:0@320 | dm:linear > 60+40 data 8:0@500 | dm:linear",
	}
	if !slices.Equal(found, want) {
		t.Errorf("%q", found)
	}
	for _, bad := range [][2]remap.Range{
		{{Dev: dm(0), Len: 10}, {Dev: dm(1), Len: 11}}, {{Dev: dm(0), Len: 101}, {Dev: dm(1), Len: 101}},
		{{Dev: dm(8), Len: 10}, {Dev: dm(1), Len: 10}}, {{Dev: dm(0), Len: 10}, {Dev: dm(8), Len: 10}},
	} {
		for p, err := range remap.Pair(st, bad[0], st, bad[1]) {
			if err == nil {
				t.Errorf("%v paired as %v", bad, p)
			}
		}
	}
}

// TestPairLeavesLayersAlone: cutting a replica must not write to the legs that
// its layer, or an earlier piece, holds.
func TestPairLeavesLayersAlone(t *testing.T) {
	legs := []remap.Leg{leg(leafDev(0), 0), leg(leafDev(1), 0)}
	shared := constant{remap.Place{Len: 40, Kind: remap.Replica, Legs: legs}}
	st := stack(t, leaf(0, 100), leaf(1, 100), leaf(2, 100),
		&remap.Node{Dev: dm(0), Size: 40, BlockSize: 512, Layer: shared},
		node(1, linear(data(7, leafDev(2), 0), data(33, leafDev(2), 50))))
	var kept []remap.Piece
	for p, err := range remap.Pair(st, remap.Range{Dev: dm(0), Len: 40}, st, remap.Range{Dev: dm(1), Len: 40}) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, *p)
	}
	if legs[0].Start != 0 || len(kept) != 2 || kept[0].Src.Legs[0].Start != 0 || kept[1].Src.Legs[1].Start != 7 {
		t.Errorf("%v, %+v", legs, kept)
	}
}

func TestChanges(t *testing.T) {
	build := func(edit func(n *remap.Node)) *remap.Stack {
		nodes := []*remap.Node{leaf(0, 100), node(0, linear(data(50, leafDev(0), 0)))}
		for _, n := range nodes {
			n.Print = remap.Fingerprint{byte(n.Dev.Major)}
			edit(n)
		}
		return stack(t, nodes...)
	}
	same := func(*remap.Node) {}
	mapped := func(do func(n *remap.Node)) func(*remap.Node) {
		return func(n *remap.Node) {
			if n.Dev == dm(0) {
				do(n)
			}
		}
	}
	tests := []struct {
		name  string
		later *remap.Stack
		want  string
		moved int
	}{
		{"none", build(same), "[]", 0},
		{"print", build(mapped(func(n *remap.Node) { n.Print[31] = 1 })), "[dm-0 (254:0): layout changed]", 1},
		{"transition", build(mapped(func(n *remap.Node) { n.Transition = "suspended" })), "[dm-0 (254:0): suspended]", 0},
		{"both", build(mapped(func(n *remap.Node) { n.Print[0], n.Transition = 1, "suspended" })), "[dm-0 (254:0): layout changed]", 1},
		{"gone", stack(t, leaf(0, 100)), "[leaf0 (8:0): layout changed dm-0 (254:0): gone]", 2},
		{"new", stack(t, append(build(same).Nodes(), leaf(1, 10))...), "[leaf1 (8:1): new]", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := build(same).Changes(tt.later)
			if got := fmt.Sprint(changes); got != tt.want {
				t.Errorf("%s", got)
			}
			if moved := remap.Moved(changes); len(moved) != tt.moved {
				t.Errorf("moved: %v", moved)
			}
		})
	}
}

func TestParseDev(t *testing.T) {
	good := map[string]remap.Dev{"8:0": {Major: 8}, "259:1048575": {Major: 259, Minor: 1048575}, "4095:0": {Major: 4095}, "08:01": {Major: 8, Minor: 1}}
	for s, want := range good {
		if d, err := remap.ParseDev(s); err != nil || d != want {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"", ":", "8", "8:", ":8", "8:0:0", "+8:0", "8:-1", " 8:0", "8:0 ", "0x8:0", "4096:0", "8:1048576", "1_0:0", "8:99999999999999999999"} {
		if d, err := remap.ParseDev(s); err == nil {
			t.Errorf("%q is %v", s, d)
		}
	}
}

func TestParseSector(t *testing.T) {
	if s, err := remap.ParseSector("18014398509481984"); err != nil || s != remap.MaxSectors {
		t.Error(s, err)
	}
	for _, s := range []string{"", "-1", "+1", "1 ", "1.0", "18014398509481985", "99999999999999999999", "0x10", "1_000"} {
		if n, err := remap.ParseSector(s); err == nil {
			t.Errorf("%q is %d", s, n)
		}
	}
}

func FuzzParseDev(f *testing.F) {
	for _, s := range []string{"8:0", "259:12", "08:1", "x", "4096:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := remap.ParseDev(s)
		if err != nil {
			return
		}
		var again remap.Dev
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%q is %v, which is %v: %v", s, d, again, err)
		}
	})
}
