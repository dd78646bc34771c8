package bcache

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

// vectors are devices that questions are asked about.
func vectors(t testing.TB) []*golden.Case {
	t.Helper()
	return golden.Cases(t, "testdata/devices.txt")
}

// device makes the device of lines that change the one of clean.
func device(t testing.TB, lines []string) *Device {
	t.Helper()
	d := clean()
	for _, line := range lines {
		if err := apply(d, line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	if err := d.Check(); err != nil {
		t.Fatalf("%q: %v", lines, err)
	}
	return d
}

func TestGolden(t *testing.T) {
	golden.Check(t, func(t *testing.T, about []string) func([]string) []string {
		d := device(t, about)
		return func(words []string) []string { return answer(t, d, words) }
	})
}

func answer(t testing.TB, d *Device, words []string) []string {
	t.Helper()
	switch words[0] {
	case "notes":
		return d.Notes()
	case "transition":
		return []string{d.Transition()}
	}
	op, start, n := golden.Range(t, words)
	return golden.Walk(t, d.Layer(), op, start, n, func(_ remap.Sector, p remap.Place) string {
		if p.Kind == remap.Opaque {
			return fmt.Sprintf("%s %s", p.Kind, p.Reason)
		}
		return fmt.Sprintf("%s %s:%d", p.Kind, p.Leg.Dev, p.Leg.Start)
	})
}
