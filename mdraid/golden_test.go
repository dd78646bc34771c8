package mdraid

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/mdraid/mdraidtest"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

var md0 = remap.Dev{Major: 9}

// fixture makes an array of lines.
func fixture(t golden.TB, lines ...string) *mdraidtest.Array {
	t.Helper()
	f, err := mdraidtest.Parse(lines)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// arrayOf is what is read of a fixture, without a detour through files.
func arrayOf(t golden.TB, f *mdraidtest.Array) *Array {
	t.Helper()
	a := &Array{Dev: md0, Name: f.Name, Size: remap.Sector(f.Size), Attrs: maps.Clone(f.Attrs)}
	for _, m := range f.Members {
		dev, err := remap.ParseDev(m.Dev)
		if m.Dev != "" && err != nil {
			t.Fatal(err)
		}
		a.Members = append(a.Members, Member{Name: m.Name, Dev: dev, Attrs: maps.Clone(m.Attrs)})
	}
	slices.SortFunc(a.Members, func(x, y Member) int { return strings.Compare(x.Name, y.Name) })
	return a
}

// walk asks for a range until it is covered.
func walk(t golden.TB, l remap.Layer, op remap.Op, start, n remap.Sector) []string {
	t.Helper()
	return golden.Walk(t, l, op, start, n, func(_ remap.Sector, p remap.Place) string { return describe(p) })
}

func describe(p remap.Place) string {
	switch p.Kind {
	case remap.Data:
		return text(p.Leg)
	case remap.Replica:
		var legs []string
		for _, leg := range p.Legs {
			legs = append(legs, text(leg))
		}
		return strings.Join(legs, " ")
	}
	return fmt.Sprintf("%s %s", p.Kind, p.Reason)
}

// text names a leg; one that must not be read has a "!".
func text(leg remap.Leg) string {
	s := fmt.Sprintf("%c:%d", rune('a'+leg.Dev.Minor), leg.Start)
	if !leg.Readable {
		s += "!"
	}
	return s
}

// TestVectors checks testdata/<level>.txt: arrays as mdraidtest.Parse reads them.
func TestVectors(t *testing.T) {
	golden.Check(t, func(t *testing.T, about []string) func([]string) []string {
		a := arrayOf(t, fixture(t, about...))
		if err := a.Check(); err != nil {
			t.Error(err)
		}
		return func(words []string) []string { return answer(t, a, words) }
	})
}

func answer(t golden.TB, a *Array, words []string) []string {
	switch words[0] {
	case "notes":
		return a.Notes()
	case "transition":
		return []string{cmp.Or(a.Transition(), "none")}
	}
	l := a.Layer()
	if !slices.Equal(l.Below(), a.Below()) && !sameSet(l.Below(), a.Below()) {
		t.Fatalf("below the layer are %v, below the array %v", l.Below(), a.Below())
	}
	op, start, n := golden.Range(t, words)
	return walk(t, l, op, start, n)
}

func sameSet(a, b []remap.Dev) bool {
	in := func(list []remap.Dev) map[remap.Dev]bool {
		set := make(map[remap.Dev]bool)
		for _, dev := range list {
			set[dev] = true
		}
		return set
	}
	return maps.Equal(in(a), in(b)) && len(a) == len(b)
}

// Every level that is mapped has vectors of arrays that are, and of some that
// are not, a generator for properties, and a seed for the fuzzer.
func TestEveryLevelIsTested(t *testing.T) {
	for level := range levels {
		var accepted, rejected bool
		for _, c := range golden.Cases(t, filepath.Join("testdata", level+".txt")) {
			if strings.Fields(c.About[0])[0] != level {
				continue
			}
			_, opaque := arrayOf(t, fixture(t, c.About...)).Layer().(remap.OpaqueLayer)
			accepted = accepted || !opaque
			rejected = rejected || opaque
		}
		if !accepted || !rejected {
			t.Errorf("%s: vectors with accepted arrays: %v, with rejected arrays: %v", level, accepted, rejected)
		}
		if generators[level] == nil {
			t.Errorf("%s: no generator for the properties", level)
		}
		seed, err := os.ReadFile(filepath.Join("testdata/fuzz/FuzzArray", level))
		if err != nil || !strings.Contains(string(seed), level+" ") {
			t.Errorf("%s: no fuzz seed of that level: %v", level, err)
		}
	}
}
