package raidmap

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// sample is a geometry and what the model deals for it.
type sample struct {
	line  string
	g     Geometry
	chunk int
	dealt dealt
}

func drawInt(t *rapid.T, what string, low, high int) int {
	return rapid.IntRange(low, high).Draw(t, what)
}

// drawSample draws a geometry of a level.
func drawSample(t *rapid.T, level string) sample {
	chunk := 8 << drawInt(t, "chunk", 0, 2)
	disks := drawInt(t, "disks", 4, 7)
	chunks := drawInt(t, "chunks", 8, 24)
	ragged := drawInt(t, "rest of a chunk", 0, chunk-1)
	size := chunks*chunk + ragged
	s := sample{chunk: chunk}
	switch level {
	case "linear":
		s.chunk = 1
		s.dealt, s.line = dealLinear(t)
	case "raid0":
		s.chunk = drawInt(t, "odd chunk", 1, 12)
		s.dealt, s.line = drawRaid0(t, s.chunk)
	case "raid1":
		s.chunk, s.dealt = 1, dealNear(disks, disks, size)
		s.line = fmt.Sprintf("raid1 %d %d", disks, size)
	case "raid10":
		s.dealt, s.line = drawRaid10(t, drawInt(t, "disks of a raid10", 2, 7), chunk, chunks, size)
	default:
		n := int(level[4] - '0')
		var layouts []int64
		for layout := range ways[n] {
			layouts = append(layouts, layout)
		}
		slices.Sort(layouts)
		layout := rapid.SampledFrom(layouts).Draw(t, "layout")
		s.dealt = dealParity(disks, chunks, ways[n][layout])
		s.line = fmt.Sprintf("%s %d %d %d %d", level, layout, disks, chunk, size)
	}
	g, err := build(t, s.line)
	if err != nil {
		t.Fatalf("%s: %v", s.line, err)
	}
	s.g = g
	return s
}

func dealLinear(t *rapid.T) (d dealt, line string) {
	line, next := "linear 0", 0
	for range drawInt(t, "members", 1, 5) {
		n := drawInt(t, "size", 0, 50)
		var h hand
		for range n {
			h = append(h, card(next))
			next++
		}
		d = append(d, h)
		line += fmt.Sprint(" ", n)
	}
	if next == 0 {
		return append(d, hand{0}), line + " 1"
	}
	return d, line
}

func drawRaid0(t *rapid.T, chunk int) (dealt, string) {
	layout := drawInt(t, "layout", 1, 2)
	var chunks []int
	line := fmt.Sprintf("raid0 %d %d", layout, chunk)
	for range drawInt(t, "members", 1, 6) {
		n := drawInt(t, "chunks of a member", 1, 8)
		chunks = append(chunks, n)
		line += fmt.Sprint(" ", n*chunk+drawInt(t, "rest", 0, chunk-1))
	}
	return dealRaid0(chunks, layout == raid0Original), line
}

func drawRaid10(t *rapid.T, disks, chunk, chunks, size int) (dealt, string) {
	copies := drawInt(t, "copies", 2, disks)
	word := map[string]int{"near": 0x100 | copies, "far": 1 | copies<<8, "offset": 0x10001 | copies<<8}
	kind := rapid.SampledFrom([]string{"near", "far", "offset"}).Draw(t, "kind")
	sets, bit := setsOf(disks, disks), 0
	if rapid.Bool().Draw(t, "sets") {
		sets, bit = setsOf(disks, copies), 0x40000
	}
	line := fmt.Sprintf("raid10 %d %d %d %d", word[kind]|bit, disks, chunk, size)
	if kind == "near" {
		return dealNear(disks, copies, chunks), line
	}
	return dealFar(disks, copies, chunks, sets, kind == "offset"), line
}

var allLevels = []string{"linear", "raid0", "raid1", "raid4", "raid5", "raid6", "raid10"}

// forEach checks a property for samples of each level.
func forEach(t *testing.T, property func(*rapid.T, sample)) {
	for _, level := range allLevels {
		t.Run(level, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { property(t, drawSample(t, level)) })
		})
	}
}

// spots are all places of a sector, in order of slots and positions.
func spots(g Geometry, s remap.Sector) []Spot {
	m, ok := g.(Mirrored)
	if !ok {
		return []Spot{g.At(s, 1).Spot}
	}
	var all []Spot
	for i := range m.Copies() {
		all = append(all, m.Copy(s, i))
	}
	slices.SortFunc(all, func(a, b Spot) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Start, b.Start))
	})
	return all
}

// Every sector is where the model dealt it, and nowhere else; the model went
// through the members, so no place has two sectors and none is left out.
func TestDealt(t *testing.T) {
	forEach(t, func(t *rapid.T, s sample) {
		want := s.dealt.places(s.chunk)
		if int(s.g.Size()) != len(want) {
			t.Fatalf("%s has %d sectors, dealt were %d", s.line, s.g.Size(), len(want))
		}
		taken := make(map[Spot]remap.Sector)
		for at := range s.g.Size() {
			got := spots(s.g, at)
			if !slices.Equal(got, want[at]) {
				t.Fatalf("%s: sector %d is at %v, dealt to %v", s.line, at, got, want[at])
			}
			for _, spot := range got {
				if other, twice := taken[spot]; twice {
					t.Fatalf("%s: sectors %d and %d are both at %v", s.line, other, at, spot)
				}
				taken[spot] = at
				if spot.Start < 0 || spot.Start >= s.g.Reach(spot.Slot) {
					t.Fatalf("%s: sector %d is at %v, beyond %d", s.line, at, spot, s.g.Reach(spot.Slot))
				}
			}
			checkParity(t, s, at)
		}
	})
}

// checkParity compares the parity of a sector with what was dealt.
func checkParity(t *rapid.T, s sample, at remap.Sector) {
	run := s.g.At(at, 1)
	row := int(run.Start) / s.chunk
	for _, c := range []struct {
		slot int
		card card
	}{{run.P, cardP}, {run.Q, cardQ}} {
		want := -1
		for slot, hand := range s.dealt {
			if row < len(hand) && hand[row] == c.card {
				want = slot
			}
		}
		if c.slot != want {
			t.Fatalf("%s: parity of sector %d is in slot %d, dealt to %d", s.line, at, c.slot, want)
		}
	}
}

// A run is what its sectors are one by one, and no longer than asked for.
func TestRuns(t *testing.T) {
	forEach(t, func(t *rapid.T, s sample) {
		start := remap.Sector(drawInt(t, "start", 0, int(s.g.Size())-1))
		n := remap.Sector(drawInt(t, "n", 1, int(s.g.Size()-start)))
		run := s.g.At(start, n)
		if run.Len < 1 || run.Len > n {
			t.Fatalf("%s: At(%d, %d) is %d sectors long", s.line, start, n, run.Len)
		}
		for i := range run.Len {
			want := spots(s.g, start)
			for j := range want {
				want[j].Start += i
			}
			if got := spots(s.g, start+i); !slices.Equal(got, want) {
				t.Fatalf("%s: sector %d of the run at %d is at %v, alone at %v", s.line, i, start, want, got)
			}
			if one := s.g.At(start+i, 1); one.P != run.P || one.Q != run.Q || one.Slot != run.Slot || one.Start != run.Start+i {
				t.Fatalf("%s: sector %d of %+v is %+v", s.line, i, run, one)
			}
		}
		if rest := n - run.Len; rest > 0 {
			next := s.g.At(start+run.Len, rest)
			if next.Slot == run.Slot && next.Start == run.Start+run.Len && s.g.Level() == "linear" {
				t.Fatalf("%s: the run at %d could be longer", s.line, start)
			}
		}
	})
}

// FuzzGeometry: whatever the parameters, a geometry is refused or its answers
// stay on the members.
func FuzzGeometry(f *testing.F) {
	for level := range uint8(7) {
		f.Add(level, int64(2), 5, int64(64), int64(4096), int64(5000), int64(1))
	}
	f.Add(uint8(3), int64(0x40201), 5, int64(128), int64(1)<<50, int64(1)<<40, int64(1)<<51)
	f.Fuzz(func(t *testing.T, level uint8, layout int64, disks int, chunk, size, other, at int64) {
		c, n := remap.Sector(chunk), remap.Sector(size)
		var g Geometry
		var err error
		switch sizes := []remap.Sector{n, remap.Sector(other), n}; level {
		case 0:
			g, err = NewLinear(c, sizes)
		case 1:
			g, err = NewRaid0(c, sizes, int(layout))
		case 2:
			g, err = NewRaid1(disks, n)
		case 3:
			g, err = NewRaid10(disks, layout, c, n)
		default:
			g, err = NewParity(int(level), layout, disks, c, n)
		}
		if err != nil || g.Size() == 0 {
			return
		}
		if g.Size() < 0 || g.Size() > remap.MaxSectors {
			t.Fatalf("%d sectors", g.Size())
		}
		for _, s := range []remap.Sector{0, g.Size() - 1, remap.Sector(uint64(at) % uint64(g.Size()))} {
			run := g.At(s, g.Size()-s)
			if run.Len < 1 || run.Len > g.Size()-s {
				t.Fatalf("the run at %d of %d has %d sectors", s, g.Size(), run.Len)
			}
			for _, spot := range append(spots(g, s), spots(g, s+run.Len-1)...) {
				if spot.Slot < 0 || spot.Slot >= g.Disks() || spot.Start < 0 || spot.Start >= g.Reach(spot.Slot) {
					t.Fatalf("sector %d is at %+v", s, spot)
				}
			}
			if run.P >= g.Disks() || run.Q >= g.Disks() || run.P == run.Slot || run.Q == run.Slot {
				t.Fatalf("parity of %+v", run)
			}
		}
	})
}
