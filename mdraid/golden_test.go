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
)

// tb is what helpers need of a testing.T, testing.F or rapid.T.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

var md0 = remap.Dev{Major: 9}

// A vector is an array as mdraidtest.Parse reads it, and what becomes of it, in
// testdata/<level>.txt: queries "read START LENGTH" or "write START LENGTH",
// each with its answers indented below, and "notes", with the notes indented
// below. An empty line ends the vector.
type vector struct {
	name  string
	lines []string
	asks  []ask
}

type ask struct {
	words []string
	want  []string
}

func readVectors(t tb, path string) []vector {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		v := vector{name: fmt.Sprint(len(vectors))}
		for _, line := range strings.Split(block, "\n") {
			words := strings.Fields(line)
			switch {
			case words[0] == "#":
				v.name = strings.TrimPrefix(line, "# ")
			case line[0] == '\t':
				a := &v.asks[len(v.asks)-1]
				a.want = append(a.want, line[1:])
			case words[0] == "read" || words[0] == "write" || words[0] == "notes" || words[0] == "transition":
				v.asks = append(v.asks, ask{words: words})
			default:
				v.lines = append(v.lines, line)
			}
		}
		if len(v.asks) == 0 || len(v.lines) == 0 {
			t.Fatalf("%s: vector %s asks nothing", path, v.name)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

// fixture makes an array of lines.
func fixture(t tb, lines ...string) *mdraidtest.Array {
	t.Helper()
	f, err := mdraidtest.Parse(lines)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// arrayOf is what is read of a fixture, without a detour through files.
func arrayOf(t tb, f *mdraidtest.Array) *Array {
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
func walk(t tb, l remap.Layer, op remap.Op, s, n remap.Sector) (got []string) {
	t.Helper()
	for n > 0 {
		p := l.Map(op, s, n)
		if p.Len < 1 || p.Len > n {
			t.Fatalf("Map(%v, %d, %d) is %d sectors long", op, s, n, p.Len)
		}
		got = append(got, fmt.Sprintf("%d +%d -> %s", s, p.Len, describe(p)))
		s, n = s+p.Len, n-p.Len
	}
	return got
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

func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors", err)
	}
	for _, file := range files {
		for _, v := range readVectors(t, file) {
			t.Run(filepath.Base(file)+"/"+v.name, func(t *testing.T) {
				a := arrayOf(t, fixture(t, v.lines...))
				if err := a.Check(); err != nil {
					t.Error(err)
				}
				for _, q := range v.asks {
					if got := answer(t, a, q.words); !slices.Equal(got, q.want) {
						t.Errorf("%s\n got %q\nwant %q", q.words, got, q.want)
					}
				}
			})
		}
	}
}

func answer(t tb, a *Array, words []string) (got []string) {
	switch words[0] {
	case "notes":
		return a.Notes()
	case "transition":
		return append(got, cmp.Or(a.Transition(), "none"))
	}
	op := remap.Read
	if words[0] == "write" {
		op = remap.Write
	}
	var start, n remap.Sector
	if _, err := fmt.Sscan(strings.Join(words[1:], " "), &start, &n); err != nil {
		t.Fatal(err)
	}
	l := a.Layer()
	if !slices.Equal(l.Below(), a.Below()) && !sameSet(l.Below(), a.Below()) {
		t.Fatalf("below the layer are %v, below the array %v", l.Below(), a.Below())
	}
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
		for _, v := range readVectors(t, filepath.Join("testdata", level+".txt")) {
			if strings.Fields(v.lines[0])[0] != level {
				continue
			}
			_, opaque := arrayOf(t, fixture(t, v.lines...)).Layer().(remap.OpaqueLayer)
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
