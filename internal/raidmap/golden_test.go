package raidmap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// tb is what helpers need of a testing.T, testing.F or rapid.T.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// build makes the geometry of a line:
//
//	linear CHUNK SIZE…
//	raid0 LAYOUT CHUNK SIZE…
//	raid1 DISKS SIZE
//	raid4|raid5|raid6|raid10 LAYOUT DISKS CHUNK SIZE
func build(t tb, line string) (Geometry, error) {
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
func whole(t tb, g Geometry, offsets ...remap.Sector) *Array {
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
func walk(t tb, a *Array, op remap.Op, s, n remap.Sector) (got []string) {
	t.Helper()
	for n > 0 {
		p := a.Map(op, s, n)
		if p.Len < 1 || p.Len > n {
			t.Fatalf("Map(%v, %d, %d) is %d sectors long", op, s, n, p.Len)
		}
		got = append(got, fmt.Sprintf("%d +%d -> %s%s", s, p.Len, describe(p), parity(a.Geometry, s, p.Kind)))
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

// TestVectors checks testdata/<level>.txt: blocks of a line that build
// understands, perhaps the offsets of the members, and then either "fails" and
// the reason, or queries "START LENGTH", each with its answers indented below.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != 7 {
		t.Fatal("vectors of some level are missing", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
			lines := strings.Split(block, "\n")
			t.Run(filepath.Base(file)+"/"+strings.TrimPrefix(lines[0], "# "), func(t *testing.T) {
				if strings.HasPrefix(lines[0], "#") {
					lines = lines[1:]
				}
				checkVector(t, lines)
			})
		}
	}
}

func checkVector(t *testing.T, lines []string) {
	g, err := build(t, lines[0])
	if want, fails := strings.CutPrefix(lines[1], "fails "); fails {
		var wrapped *Error
		if !errors.As(err, &wrapped) || wrapped.Level != strings.Fields(lines[0])[0] || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, want %s", err, want)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var offsets []remap.Sector
	if words := strings.Fields(lines[1]); words[0] == "offsets" {
		for _, word := range words[1:] {
			offsets = append(offsets, number(t, word))
		}
		lines = lines[1:]
	}
	a := whole(t, g, offsets...)
	if len(lines) < 3 {
		t.Fatal("the vector asks nothing")
	}
	for i := 1; i < len(lines); {
		var start, n remap.Sector
		if _, err := fmt.Sscan(lines[i], &start, &n); err != nil {
			t.Fatal(lines[i], err)
		}
		var want []string
		for i++; i < len(lines) && lines[i][0] == '\t'; i++ {
			want = append(want, lines[i][1:])
		}
		if got := walk(t, a, remap.Read, start, n); !slices.Equal(got, want) {
			t.Errorf("[%d,+%d)\n got %q\nwant %q", start, n, got, want)
		}
	}
}

func number(t tb, s string) remap.Sector {
	t.Helper()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return remap.Sector(n)
}
