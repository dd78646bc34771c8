package bcache

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// A vector is a device and what becomes of it: lines that change the device of
// clean, then questions, each with its answers indented below. An empty line
// ends it.
type vector struct {
	name  string
	lines []string
	asks  []ask
}

type ask struct {
	words []string
	want  []string
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/devices.txt")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		var v vector
		for _, line := range strings.Split(block, "\n") {
			words := strings.Fields(line)
			switch {
			case words[0] == "#":
				v.name = strings.TrimPrefix(line, "# ")
			case line[0] == '\t':
				a := &v.asks[len(v.asks)-1]
				a.want = append(a.want, line[1:])
			case slices.Contains([]string{"read", "write", "notes", "transition"}, words[0]):
				v.asks = append(v.asks, ask{words: words})
			default:
				v.lines = append(v.lines, line)
			}
		}
		if len(v.asks) == 0 {
			t.Fatalf("vector %q asks nothing", v.name)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

func (v *vector) device(t testing.TB) *Device {
	t.Helper()
	d := clean()
	for _, line := range v.lines {
		if err := apply(d, line); err != nil {
			t.Fatalf("%s: %s: %v", v.name, line, err)
		}
	}
	if err := d.Check(); err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	return d
}

func TestGolden(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			d := v.device(t)
			for _, a := range v.asks {
				if got := answer(t, d, a.words); !slices.Equal(got, a.want) {
					t.Errorf("%v:\ngot  %q\nwant %q", a.words, got, a.want)
				}
			}
		})
	}
}

func answer(t testing.TB, d *Device, words []string) []string {
	t.Helper()
	switch words[0] {
	case "notes":
		return d.Notes()
	case "transition":
		return []string{d.Transition()}
	}
	op := remap.Read
	if words[0] == "write" {
		op = remap.Write
	}
	var start, length remap.Sector
	if _, err := fmt.Sscan(strings.Join(words[1:], " "), &start, &length); err != nil {
		t.Fatal(err)
	}
	p := d.Layer().Map(op, start, length)
	place := fmt.Sprintf("%s:%d", p.Leg.Dev, p.Leg.Start)
	if p.Kind == remap.Opaque {
		place = string(p.Reason)
	}
	return []string{fmt.Sprintf("%d +%d %s %s", start, p.Len, p.Kind, place)}
}
