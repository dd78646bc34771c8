package mdraid

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/mdraid/mdraidtest"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

func drawInt(t *rapid.T, what string, low, high int) int {
	return rapid.IntRange(low, high).Draw(t, what)
}

// generators draw an array of each level that is mapped.
var generators = map[string]func(*rapid.T) *mdraidtest.Array{
	"linear": drawLinear,
	"raid0":  drawRaid0,
	"raid1":  drawRaid1,
	"raid4":  func(t *rapid.T) *mdraidtest.Array { return drawParity(t, "raid4", 1, []int{0}) },
	"raid5":  func(t *rapid.T) *mdraidtest.Array { return drawParity(t, "raid5", 1, []int{0, 1, 2, 3, 4, 5}) },
	"raid6": func(t *rapid.T) *mdraidtest.Array {
		return drawParity(t, "raid6", 2, []int{0, 1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 19, 20})
	},
	"raid10": drawRaid10,
}

func set(a *mdraidtest.Array, attr string, value int) { a.Attrs[attr] = fmt.Sprint(value) }

func drawLinear(t *rapid.T) *mdraidtest.Array {
	a := mdraidtest.New("linear", drawInt(t, "disks", 1, 5), 0)
	set(a, "chunk_size", 0)
	for _, m := range a.Members {
		kib := drawInt(t, "KiB", 1, 60)
		m.Attrs["size"] = fmt.Sprint(kib)
		a.Size += 2 * int64(kib)
	}
	return a
}

func drawRaid0(t *rapid.T) *mdraidtest.Array {
	a := mdraidtest.New("raid0", drawInt(t, "disks", 1, 5), 0)
	chunk := 2 * drawInt(t, "chunk", 1, 6)
	set(a, "chunk_size", 512*chunk)
	set(a, "layout", drawInt(t, "layout", 1, 2))
	for _, m := range a.Members {
		chunks := drawInt(t, "chunks", 1, 8)
		m.Attrs["size"] = fmt.Sprint((chunks*chunk + drawInt(t, "rest", 0, chunk-1)) / 2)
		a.Size += int64(chunks * chunk)
	}
	return a
}

func drawRaid1(t *rapid.T) *mdraidtest.Array {
	size := 2 * int64(drawInt(t, "KiB", 1, 100))
	a := mdraidtest.New("raid1", drawInt(t, "disks", 1, 4), size)
	a.Size = size
	return a
}

// drawRaid10 draws arrays that mdadm can create.
func drawRaid10(t *rapid.T) *mdraidtest.Array {
	disks, chunks := drawInt(t, "disks", 2, 6), drawInt(t, "chunks", 8, 16)
	copies := drawInt(t, "copies", 2, disks)
	const chunk = 8
	a := mdraidtest.New("raid10", disks, int64(chunk*chunks))
	set(a, "chunk_size", 512*chunk)
	word, rows := 0x100|copies, chunks
	if kind := rapid.SampledFrom([]int{-1, 1, 0x10001, 0x40001, 0x50001}).Draw(t, "kind"); kind > 0 {
		word, rows = kind|copies<<8, chunks/copies
		a.Size = int64(rows * disks * chunk)
	} else {
		a.Size = int64(chunks * disks / copies * chunk)
	}
	set(a, "layout", word)
	return a
}

func drawParity(t *rapid.T, level string, parity int, layouts []int) *mdraidtest.Array {
	disks, rows := drawInt(t, "disks", 4, 7), drawInt(t, "rows", 1, 12)
	const chunk = 8
	a := mdraidtest.New(level, disks, int64(chunk*rows))
	set(a, "chunk_size", 512*chunk)
	set(a, "layout", rapid.SampledFrom(layouts).Draw(t, "layout"))
	a.Size = int64((disks - parity) * rows * chunk)
	return a
}

// shuffle gives members random offsets, and slots that have nothing to do with
// their names.
func shuffle(t *rapid.T, a *mdraidtest.Array) {
	slots := make([]string, len(a.Members))
	for i, m := range a.Members {
		slots[i] = m.Attrs["slot"]
	}
	slots = rapid.Permutation(slots).Draw(t, "slots")
	for i, m := range a.Members {
		offset := drawInt(t, "offset", 0, 3000)
		m.Attrs["slot"] = slots[i]
		set2(m, "offset", offset)
		set2(m, "new_offset", offset)
	}
}

func set2(m *mdraidtest.Member, attr string, value int) { m.Attrs[attr] = fmt.Sprint(value) }

// forEach checks a property for arrays of each level.
func forEach(t *testing.T, property func(*rapid.T, *mdraidtest.Array)) {
	for level, draw := range generators {
		t.Run(level, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				a := draw(t)
				shuffle(t, a)
				property(t, a)
			})
		})
	}
}

// legs are all places of an answer.
func legs(p remap.Place) []remap.Leg {
	switch p.Kind {
	case remap.Data:
		return []remap.Leg{p.Leg}
	case remap.Replica:
		return p.Legs
	}
	return nil
}

// memberOf finds the member that a device is.
func memberOf(t golden.TB, a *Array, dev remap.Dev) *Member {
	t.Helper()
	for i := range a.Members {
		if a.Members[i].Dev == dev {
			return &a.Members[i]
		}
	}
	t.Fatalf("%s is no member of the array", dev)
	return nil
}

// inside demands that all places of an answer lie in the data of a member.
func inside(t golden.TB, a *Array, p remap.Place) {
	t.Helper()
	for _, leg := range legs(p) {
		m := memberOf(t, a, leg.Dev)
		l, bad := m.parse()
		if bad != "" || leg.Start < l.offset || leg.Start+p.Len > l.offset+l.size {
			t.Fatalf("[%d,+%d) is not data of %s: offset %d, size %d", leg.Start, p.Len, m.Name, l.offset, l.size)
		}
	}
}

// A whole array is read everywhere, inside of its members, and no two of its
// sectors are in one place.
func TestWhole(t *testing.T) {
	forEach(t, func(t *rapid.T, f *mdraidtest.Array) {
		a := arrayOf(t, f)
		l := a.Layer()
		taken := make(map[remap.Leg]remap.Sector)
		copies := 0
		for s := range a.Size {
			p := l.Map(remap.Read, s, 1)
			if p.Len != 1 || len(legs(p)) == 0 {
				t.Fatalf("sector %d of %+v: %+v, %v", s, f.Attrs, p, a.Notes())
			}
			if copies = max(copies, len(legs(p))); copies != len(legs(p)) {
				t.Fatalf("sector %d has %d copies, others have %d", s, len(legs(p)), copies)
			}
			inside(t, a, p)
			for _, leg := range legs(p) {
				if other, twice := taken[leg]; twice || !leg.Readable {
					t.Fatalf("sectors %d and %d are both at %+v", other, s, leg)
				}
				taken[leg] = s
			}
		}
		if p := l.Map(remap.Read, a.Size, 8); p.Kind != remap.Opaque || p.Len != 8 {
			t.Fatalf("behind the end is %+v", p)
		}
		if len(a.Notes()) != 0 || a.Transition() != "" || a.Check() != nil {
			t.Fatalf("%v %q %v", a.Notes(), a.Transition(), a.Check())
		}
	})
}

// drawFlaws changes members: removes, fails and slows them.
func drawFlaws(t *rapid.T, a *mdraidtest.Array) {
	for _, m := range slices.Clone(a.Members) {
		switch drawInt(t, "flaw", 0, 7) {
		case 0:
			a.Members = slices.DeleteFunc(a.Members, func(other *mdraidtest.Member) bool { return other == m })
		case 1:
			m.Attrs["state"] = rapid.SampledFrom([]string{"faulty", "faulty,in_sync,blocked", "spare", "in_sync,blocked",
				"in_sync,write_mostly", "in_sync,want_replacement", "in_sync,write_error,failfast"}).Draw(t, "state")
		case 2:
			m.Attrs["bad_blocks"] = fmt.Sprintf("%d %d\n%d 3", drawInt(t, "bad", 0, 3050), drawInt(t, "bad length", 1, 50), 3060)
		case 3:
			m.Attrs["unacknowledged_bad_blocks"] = "5000 8"
		case 4:
			m.Dev = ""
		}
	}
	if drawInt(t, "synced", 0, 2) == 0 {
		set(a, "resync_start", drawInt(t, "resync start", 0, int(a.Size)))
	}
}

// mayRead is the rule for a sector of a member, told once more.
func mayRead(m *Member, s remap.Sector) bool {
	words := strings.Split(m.Attrs["state"], ",")
	if !slices.Contains(words, "in_sync") || m.Attrs["unacknowledged_bad_blocks"] != "" {
		return false
	}
	for _, word := range []string{"faulty", "blocked", "write_mostly"} {
		if slices.Contains(words, word) {
			return false
		}
	}
	for _, line := range strings.Split(m.Attrs["bad_blocks"], "\n") {
		var start, n remap.Sector
		if _, err := fmt.Sscan(line, &start, &n); err == nil && start <= s && s < start+n {
			return false
		}
	}
	return true
}

// With whatever flaws, ranges are covered, split queries are the whole, nothing
// lies outside of the members, and what may be read is what the rule allows.
func TestFlawed(t *testing.T) {
	forEach(t, func(t *rapid.T, f *mdraidtest.Array) {
		drawFlaws(t, f)
		a := arrayOf(t, f)
		l := a.Layer()
		whole := l.Map(remap.Read, 0, remap.Sector(f.Size))
		for s := remap.Sector(0); s < a.Size; s += whole.Len {
			whole = l.Map(remap.Read, s, a.Size-s)
			if whole.Len < 1 || whole.Len > a.Size-s {
				t.Fatalf("Map(%d) is %+v", s, whole)
			}
			inside(t, a, whole)
			inside(t, a, l.Map(remap.Write, s, a.Size-s))
			for i := range whole.Len {
				checkSector(t, a, l.Map(remap.Read, s+i, 1), whole, i, s+i)
			}
		}
	})
}

func checkSector(t *rapid.T, a *Array, one, whole remap.Place, i, s remap.Sector) {
	if one.Kind != whole.Kind || one.Reason != whole.Reason || len(legs(one)) != len(legs(whole)) {
		t.Fatalf("sector %d of the run %+v is %+v", i, whole, one)
	}
	readable := 0
	for j, leg := range legs(one) {
		if run := legs(whole)[j]; leg.Dev != run.Dev || leg.Start != run.Start+i || leg.Readable != run.Readable {
			t.Fatalf("sector %d of the run %+v is %+v", i, whole, one)
		}
		if leg.Readable != mayRead(memberOf(t, a, leg.Dev), leg.Start) {
			t.Fatalf("sector %d at %+v: %+v", s, leg, memberOf(t, a, leg.Dev))
		}
		if leg.Readable {
			readable++
		}
	}
	synced, err := remap.ParseSector(a.Attrs["resync_start"])
	if mirrors(a.Level()) && err == nil && s >= synced && readable > 0 {
		t.Fatalf("sector %d is read, copies may differ from %d on", s, synced)
	}
	if len(legs(one)) > 0 && readable == 0 {
		t.Fatalf("sector %d cannot be read at any of %+v", s, legs(one))
	}
}

// FuzzArray: whatever files say, nothing panics, and what is mapped lies inside
// of the members.
func FuzzArray(f *testing.F) {
	for level := range levels {
		for _, c := range golden.Cases(f, "testdata/"+level+".txt") {
			f.Add(strings.Join(c.About, "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		fixture, err := mdraidtest.Parse(strings.Split(text, "\n"))
		if err != nil || fixture.Size < 0 || remap.Sector(fixture.Size) > remap.MaxSectors {
			return
		}
		for _, m := range fixture.Members {
			if _, err := remap.ParseDev(m.Dev); m.Dev != "" && err != nil {
				return
			}
		}
		a := arrayOf(t, fixture)
		if again := arrayOf(t, fixture); again.Print() != a.Print() {
			t.Fatal("the print depends on chance")
		}
		checked := a.Check() == nil
		a.Transition()
		for _, note := range a.Notes() {
			if checked && !printable(note) {
				t.Fatalf("note %q", note)
			}
		}
		l := a.Layer()
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			for _, s := range []remap.Sector{0, 1, 127, 128, a.Size / 2, a.Size - 1} {
				if s < 0 || s >= a.Size {
					continue
				}
				p := l.Map(op, s, a.Size-s)
				if p.Len < 1 || p.Len > a.Size-s || (p.Kind == remap.Opaque) != (p.Reason != "") || checked && !printable(string(p.Reason)) {
					t.Fatalf("Map(%v, %d) is %+v", op, s, p)
				}
				inside(t, a, p)
			}
		}
	})
}
