package raidmap

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

// build makes the geometry of a line:
//
//	linear CHUNK SIZE…
//	raid0 LAYOUT CHUNK SIZE…
//	raid1 DISKS SIZE
//	raid4|raid5|raid6|raid10 LAYOUT DISKS CHUNK SIZE
func build(t golden.TB, line string) (Geometry, error) {
	t.Helper()
	words := strings.Fields(line)
	var args []int64
	for _, word := range words[1:] {
		n, err := strconv.ParseInt(word, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, n)
	}
	sizes := func(args []int64) (sizes []remap.Sector) {
		for _, n := range args {
			sizes = append(sizes, remap.Sector(n))
		}
		return sizes
	}
	switch level := words[0]; level {
	case "linear":
		return NewLinear(remap.Sector(args[0]), sizes(args[1:]))
	case "raid0":
		return NewRaid0(remap.Sector(args[1]), sizes(args[2:]), int(args[0]))
	case "raid1":
		return NewRaid1(int(args[0]), remap.Sector(args[1]))
	case "raid10":
		return NewRaid10(int(args[1]), args[0], remap.Sector(args[2]), remap.Sector(args[3]))
	default:
		return NewParity(int(level[4]-'0'), args[0], int(args[1]), remap.Sector(args[2]), remap.Sector(args[3]))
	}
}

// letter names a slot, and the device in it.
func letter(slot int) string { return string(rune('a' + slot)) }

func device(slot int) remap.Dev { return remap.Dev{Major: 8, Minor: uint32(slot)} }

// whole makes an array of members that are all there and in sync, and have
// exactly the size that is needed.
func whole(t golden.TB, g Geometry, offsets ...remap.Sector) *Array {
	t.Helper()
	c := Config{Layer: "md:" + g.Level(), Geometry: g, Synced: remap.MaxSectors}
	for slot := range g.Disks() {
		m := Member{Dev: device(slot), Size: g.Reach(slot), ReadableTo: remap.MaxSectors}
		if slot < len(offsets) {
			m.Offset = offsets[slot]
		}
		c.Members = append(c.Members, m)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// walk asks for a range until it is covered.
func walk(t golden.TB, a *Array, op remap.Op, start, n remap.Sector) []string {
	t.Helper()
	return golden.Walk(t, a, op, start, n, func(s remap.Sector, p remap.Place) string {
		return describe(p) + parity(a.Geometry, s, p.Kind)
	})
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
	s := fmt.Sprintf("%s:%d", letter(int(leg.Dev.Minor)), leg.Start)
	if !leg.Readable {
		s += "!"
	}
	return s
}

func parity(g Geometry, s remap.Sector, kind remap.Kind) (text string) {
	if kind == remap.Opaque {
		return ""
	}
	run := g.At(s, 1)
	if run.P >= 0 {
		text += " P=" + letter(run.P)
	}
	if run.Q >= 0 {
		text += " Q=" + letter(run.Q)
	}
	return text
}

// TestVectors checks testdata/<level>.txt: a line that build understands, and perhaps the offsets of the members.
func TestVectors(t *testing.T) {
	golden.Check(t, func(t *testing.T, about []string) func([]string) []string {
		g, err := build(t, about[0])
		if err != nil {
			return func([]string) []string { return []string{err.Error()} }
		}
		var offsets []remap.Sector
		for _, word := range strings.Fields(strings.Join(about[1:], " ")) {
			if word != "offsets" {
				offsets = append(offsets, number(t, word))
			}
		}
		a := whole(t, g, offsets...)
		return func(words []string) []string {
			if words[0] == "error" {
				return nil
			}
			op, start, n := golden.Range(t, words)
			return walk(t, a, op, start, n)
		}
	})
}

func number(t golden.TB, s string) remap.Sector {
	t.Helper()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return remap.Sector(n)
}
