package remap_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// drawStack makes a random stack: leaves and layers on layers, among them some
// that reach beyond the end of what is below.
func drawStack(t *rapid.T) (st *remap.Stack, top []remap.Dev) {
	draw := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
	var nodes []*remap.Node
	var devs []remap.Dev
	for i := range draw("leaves", 1, 3) {
		nodes = append(nodes, leaf(i, remap.Sector(draw("leaf size", 1, 300))))
		devs = append(devs, leafDev(i))
	}
	place := func() remap.Leg {
		return remap.Leg{
			Dev:      rapid.SampledFrom(devs).Draw(t, "below"),
			Start:    remap.Sector(draw("start", 0, 200)),
			Readable: rapid.Bool().Draw(t, "readable"),
		}
	}
	readable := func() remap.Leg {
		l := place()
		l.Readable = true
		return l
	}
	for i := range draw("layers", 1, 5) {
		m := &model{name: rapid.SampledFrom([]string{"dm:a", "dm:b"}).Draw(t, "name"), step: remap.Sector(draw("step", 0, 3) * 5)}
		for range draw("runs", 1, 4) {
			n := remap.Sector(draw("run", 1, 60))
			switch draw("kind", 0, 9) {
			case 0:
				m.runs = append(m.runs, run{n: n, kind: remap.Zero})
			case 1:
				m.runs = append(m.runs, run{n: n, kind: remap.Opaque, reason: "layer:odd"})
			case 2:
				m.runs = append(m.runs, cipher(n, place().Dev, 0))
			case 3:
				m.runs = append(m.runs, mirror(n, place(), place()))
			case 4, 5:
				legs := []remap.Leg{readable(), readable(), readable()}[:draw("stripes", 1, 3)]
				m.runs = append(m.runs, run{n: n, kind: remap.Data, chunk: remap.Sector(draw("chunk", 1, 9)), legs: legs})
			default:
				m.runs = append(m.runs, run{n: n, kind: remap.Data, legs: []remap.Leg{readable()}})
			}
		}
		nodes = append(nodes, node(i, m))
		devs = append(devs, dm(i))
		top = append(top, dm(i))
	}
	st, err := remap.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return st, top
}

func drawRange(t *rapid.T, st *remap.Stack, dev remap.Dev) remap.Range {
	size := int(st.Node(dev).Size)
	start := rapid.IntRange(0, size).Draw(t, "from")
	return remap.Range{Dev: dev, Start: remap.Sector(start), Len: remap.Sector(rapid.IntRange(0, size-start).Draw(t, "length"))}
}

func extents(t *rapid.T, st *remap.Stack, op remap.Op, r remap.Range) (all []remap.Extent) {
	next := r.Start
	for e, err := range st.Resolve(op, r) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Start != next || e.Len < 1 {
			t.Fatalf("extent %s does not follow sector %d of %v", text(&e), next, r)
		}
		if (e.Kind == remap.Opaque || e.Kind == remap.Error) != (e.Reason != "") {
			t.Fatalf("reason %q of %s", e.Reason, text(&e))
		}
		if (e.Kind == remap.Replica) != (len(e.Legs) > 0) {
			t.Fatalf("%d legs of %s", len(e.Legs), text(&e))
		}
		next = e.End()
		all = append(all, e)
	}
	if next != r.End() {
		t.Fatalf("%v is covered up to %d", r, next)
	}
	return all
}

// agree compares an answer with that of the oracle. Ways end where resolving
// ended, which for runs beyond the end of a device is above where the oracle
// notices, and below a replica there is more than one.
func agree(a, b answer) bool {
	if a.kind != b.kind || len(a.legs) != len(b.legs) {
		return false
	}
	for i := range a.legs {
		if a.legs[i] != b.legs[i] {
			return false
		}
	}
	return a.kind != remap.Data || a.via == b.via
}

// TestCover: an answer covers the range without gaps, and sector by sector says
// what the oracle says. Where a run as a whole does not fit below, all of it is
// opaque, for the oracle only the part beyond the end.
func TestCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, top := drawStack(t)
		r := drawRange(t, st, rapid.SampledFrom(top).Draw(t, "top"))
		for _, e := range extents(t, st, remap.Read, r) {
			for s := range e.Len {
				got, want := at(&e, s), oracle(st, r.Dev, e.Start+s)
				if !agree(got, want) && got.kind != remap.Opaque {
					t.Fatalf("sector %d: %v, should be %v", e.Start+s, got, want)
				}
				if got.kind == remap.Opaque && want.kind != remap.Opaque && e.Reason != remap.ReasonBadMap && e.Reason != remap.ReasonLegs && e.Reason != remap.ReasonCipher && e.Reason != "layer:odd" {
					t.Fatalf("sector %d: opaque (%s), should be %v", e.Start+s, e.Reason, want)
				}
			}
		}
	})
}

// TestJoined: neighbouring extents could not be one.
func TestJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, top := drawStack(t)
		all := extents(t, st, remap.Read, drawRange(t, st, rapid.SampledFrom(top).Draw(t, "top")))
		for i := range all {
			if i == 0 || all[i].Kind != remap.Data || all[i-1].Kind != remap.Data {
				continue
			}
			a, b := &all[i-1], &all[i]
			if a.Leg.Dev == b.Leg.Dev && a.Leg.Start+a.Len == b.Leg.Start && a.Via == b.Via {
				t.Fatalf("%s and %s are one", text(a), text(b))
			}
		}
	})
}

// TestSplit: a range resolved in two parts is what it is resolved at once,
// sector by sector. Only where it touches an impossible run, the part that fits
// may be told when asked for alone.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, top := drawStack(t)
		r := drawRange(t, st, rapid.SampledFrom(top).Draw(t, "top"))
		cut := remap.Sector(rapid.IntRange(0, int(r.Len)).Draw(t, "cut"))
		whole := sectorsOf(extents(t, st, remap.Write, r))
		parts := append(
			sectorsOf(extents(t, st, remap.Write, remap.Range{Dev: r.Dev, Start: r.Start, Len: cut})),
			sectorsOf(extents(t, st, remap.Write, remap.Range{Dev: r.Dev, Start: r.Start + cut, Len: r.Len - cut}))...)
		if len(whole) != len(parts) {
			t.Fatalf("%d sectors, %d in parts", len(whole), len(parts))
		}
		for i := range whole {
			if whole[i].kind != remap.Opaque && parts[i].kind != remap.Opaque && whole[i].String() != parts[i].String() {
				t.Fatalf("sector %d: %v, in parts %v", r.Start+remap.Sector(i), whole[i], parts[i])
			}
		}
	})
}

func sectorsOf(all []remap.Extent) (sectors []answer) {
	for i := range all {
		for s := range all[i].Len {
			sectors = append(sectors, at(&all[i], s))
		}
	}
	return sectors
}

// TestPairs: pieces cover both ranges once and in order, and each side says what
// resolving it alone says, whatever was paired before.
func TestPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, top := drawStack(t)
		from := drawRange(t, st, rapid.SampledFrom(top).Draw(t, "source"))
		to := drawRange(t, st, rapid.SampledFrom(top).Draw(t, "destination"))
		from.Len = min(from.Len, to.Len)
		to.Len = from.Len
		pairer := remap.NewPairer(st, st)
		for range rapid.IntRange(0, 2).Draw(t, "earlier walks") {
			for range pairer.Pair(to, from) {
				break // in the midst of it
			}
		}
		var src, dst []remap.Extent
		nextSrc, nextDst := from.Start, to.Start
		for p, err := range pairer.Pair(from, to) {
			if err != nil {
				t.Fatal(err)
			}
			if p.Src.Start != nextSrc || p.Dst.Start != nextDst || p.Src.Len != p.Dst.Len || p.Len() < 1 {
				t.Fatalf("piece %s > %s does not follow %d > %d", text(&p.Src), text(&p.Dst), nextSrc, nextDst)
			}
			nextSrc, nextDst = p.Src.End(), p.Dst.End()
			src, dst = append(src, p.Src), append(dst, p.Dst)
		}
		if nextSrc != from.End() || nextDst != to.End() {
			t.Fatalf("covered up to %d > %d of %v > %v", nextSrc, nextDst, from, to)
		}
		for _, side := range []struct {
			pieces []remap.Extent
			alone  []remap.Extent
		}{{src, extents(t, st, remap.Read, from)}, {dst, extents(t, st, remap.Write, to)}} {
			pieces, alone := sectorsOf(side.pieces), sectorsOf(side.alone)
			for i := range alone {
				if pieces[i].String() != alone[i].String() {
					t.Fatalf("sector %d: %v, alone %v", i, pieces[i], alone[i])
				}
			}
		}
	})
}

// FuzzStack makes stacks of whatever bytes say and resolves them: no answer of
// any layer may crash, hang, or leave a gap.
func FuzzStack(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		st, top := drawStack(t)
		for _, dev := range top {
			extents(t, st, remap.Read, remap.Range{Dev: dev, Len: st.Node(dev).Size})
		}
	}))
}

// FuzzLayer: whatever a layer answers, the cover is complete.
func FuzzLayer(f *testing.F) {
	f.Add(int64(10), uint8(1), int64(5), uint8(0), int64(0), int64(50))
	f.Add(int64(-1), uint8(2), int64(1<<62), uint8(9), int64(3), int64(20))
	f.Fuzz(func(t *testing.T, length int64, kind uint8, place int64, minor uint8, start, n int64) {
		odd := constant{remap.Place{Len: remap.Sector(length), Kind: remap.Kind(kind), Leg: leg(leafDev(int(minor)), remap.Sector(place)),
			Legs: []remap.Leg{leg(leafDev(0), 0), leg(leafDev(int(minor)), remap.Sector(place))}, Reason: "layer:odd"}}
		st := stack(t, leaf(0, 1000), &remap.Node{Dev: dm(0), Size: 1 << 10, BlockSize: 512, Layer: odd})
		r := remap.Range{Dev: dm(0), Start: remap.Sector(start), Len: remap.Sector(n)}
		next := r.Start
		for e, err := range st.Resolve(remap.Read, r) {
			if err != nil {
				return
			}
			if e.Start != next || e.Len < 1 {
				t.Fatalf("%s does not follow %d", text(&e), next)
			}
			next = e.End()
		}
		if next != r.End() {
			t.Fatalf("%v is covered up to %d", r, next)
		}
	})
}
