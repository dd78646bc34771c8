package raidmap

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

// changed is a whole array after a change.
func changed(t golden.TB, line string, change func(*Config)) *Array {
	t.Helper()
	g, err := build(t, line)
	if err != nil {
		t.Fatal(err)
	}
	c := whole(t, g).Config
	change(&c)
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestReadable(t *testing.T) {
	for name, test := range map[string]struct {
		line   string
		change func(*Config)
		n      remap.Sector
		read   []string
		write  []string
	}{
		"raid1 with a leg that is written up to a sector": {"raid1 2 100", func(c *Config) { c.Members[1].ReadableTo = 40 }, 100,
			[]string{"0 +40 -> a:0 b:0", "40 +60 -> a:40 b:40!"},
			[]string{"0 +40 -> a:0 b:0", "40 +60 -> a:40 b:40!"}},
		"raid1 with bad blocks on both legs": {"raid1 2 100", func(c *Config) {
			c.Members[0].Bad = []Bad{{10, 20}, {50, 10}}
			c.Members[1].Bad = []Bad{{20, 15}, {90, 50}}
		}, 100,
			[]string{"0 +10 -> a:0 b:0", "10 +10 -> a:10! b:10", "20 +10 -> opaque layer:raid1-missing-member", "30 +5 -> a:30 b:30!",
				"35 +15 -> a:35 b:35", "50 +10 -> a:50! b:50", "60 +30 -> a:60 b:60", "90 +10 -> a:90 b:90!"},
			nil},
		"raid1 without a leg": {"raid1 2 100", func(c *Config) { c.Members[0] = Member{} }, 100,
			[]string{"0 +100 -> b:0"},
			[]string{"0 +100 -> opaque layer:raid1-degraded"}},
		"raid1 without any": {"raid1 2 100", func(c *Config) { c.Members[0], c.Members[1] = Member{}, Member{} }, 100,
			[]string{"0 +100 -> opaque layer:raid1-missing-member"},
			[]string{"0 +100 -> opaque layer:raid1-degraded"}},
		"raid1 in sync up to a sector": {"raid1 2 100", func(c *Config) { c.Synced = 30 }, 100,
			[]string{"0 +30 -> a:0 b:0", "30 +70 -> opaque layer:md-unsynced"},
			[]string{"0 +100 -> a:0 b:0"}},
		"raid1 with a leg that is being replaced": {"raid1 2 100", func(c *Config) { c.Members[0].Replacement, c.Members[0].ReplacementOffset = device(5), 7 }, 100,
			[]string{"0 +100 -> a:0 f:7! b:0"},
			[]string{"0 +100 -> a:0 f:7! b:0"}},
		"raid10 without a disk": {"raid10 0x102 4 8 16", func(c *Config) { c.Members[1] = Member{} }, 32,
			[]string{"0 +8 -> a:0", "8 +8 -> c:0 d:0", "16 +8 -> a:8", "24 +8 -> c:8 d:8"},
			[]string{"0 +8 -> opaque layer:raid10-degraded", "8 +8 -> c:0 d:0", "16 +8 -> opaque layer:raid10-degraded", "24 +8 -> c:8 d:8"}},
		"raid10 without both copies": {"raid10 0x102 4 8 16", func(c *Config) { c.Members[0], c.Members[1] = Member{}, Member{} }, 16,
			[]string{"0 +8 -> opaque layer:raid10-missing-member", "8 +8 -> c:0 d:0"}, nil},
		"raid5 without a disk": {"raid5 2 3 8 16", func(c *Config) { c.Members[0] = Member{} }, 32,
			[]string{"0 +8 -> opaque layer:raid5-missing-member", "8 +8 -> b:0 P=c", "16 +8 -> c:8 P=b", "24 +8 -> opaque layer:raid5-missing-member"},
			[]string{"0 +32 -> opaque layer:raid5-parity"}},
		"raid6 with bad blocks": {"raid6 2 4 8 8", func(c *Config) { c.Members[1].Bad = []Bad{{2, 1}} }, 16,
			[]string{"0 +2 -> b:0 P=d Q=a", "2 +1 -> opaque layer:raid6-missing-member", "3 +5 -> b:3 P=d Q=a", "8 +8 -> c:0 P=d Q=a"}, nil},
		"raid0 without a disk": {"raid0 2 8 8 8", func(c *Config) { c.Members[1] = Member{} }, 16,
			[]string{"0 +8 -> a:0", "8 +8 -> opaque layer:raid0-missing-member"},
			[]string{"0 +8 -> a:0", "8 +8 -> opaque layer:raid0-missing-member"}},
		"raid0 of dm that nobody may write": {"raid0 2 8 8 8", func(c *Config) { c.Layer, c.Sealed = "dm:raid", "layer:sealed" }, 24,
			[]string{"0 +8 -> a:0", "8 +8 -> b:0", "16 +8 -> opaque layer:dm-gap"},
			[]string{"0 +16 -> opaque layer:sealed", "16 +8 -> opaque layer:dm-gap"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := changed(t, test.line, test.change)
			if got := walk(t, a, remap.Read, 0, test.n); !slices.Equal(got, test.read) {
				t.Errorf("read\n got %q\nwant %q", got, test.read)
			}
			if got := walk(t, a, remap.Write, 0, test.n); test.write != nil && !slices.Equal(got, test.write) {
				t.Errorf("write\n got %q\nwant %q", got, test.write)
			}
		})
	}
}

func TestMembersThatDoNotFit(t *testing.T) {
	g, err := NewRaid1(2, 100)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"too few":           func(c *Config) { c.Members = c.Members[:1] },
		"too small":         func(c *Config) { c.Members[1].Size = 99 },
		"offset":            func(c *Config) { c.Members[1].Offset = -1 },
		"offset too large":  func(c *Config) { c.Members[1].Offset = remap.MaxSectors - 99 },
		"replacement":       func(c *Config) { c.Members[1].ReplacementOffset = remap.MaxSectors },
		"readable":          func(c *Config) { c.Members[1].ReadableTo = -1 },
		"readable too far":  func(c *Config) { c.Members[1].ReadableTo = remap.MaxSectors + 1 },
		"bad order":         func(c *Config) { c.Members[1].Bad = []Bad{{10, 5}, {0, 5}} },
		"bad overlap":       func(c *Config) { c.Members[1].Bad = []Bad{{10, 5}, {14, 5}} },
		"bad negative":      func(c *Config) { c.Members[1].Bad = []Bad{{-10, 5}} },
		"bad without bytes": func(c *Config) { c.Members[1].Bad = []Bad{{10, 0}} },
		"bad without end":   func(c *Config) { c.Members[1].Bad = []Bad{{10, remap.MaxSectors}} },
		"synced":            func(c *Config) { c.Synced = -1 },
	} {
		c := whole(t, g).Config
		c.Members = slices.Clone(c.Members)
		change(&c)
		if _, err := New(c); !errors.Is(err, errMember) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBelow(t *testing.T) {
	a := changed(t, "raid1 3 100", func(c *Config) {
		c.Members[0] = Member{}
		c.Members[1].Replacement = device(7)
		c.Members[2].Dev = device(1)
		c.Others = []remap.Dev{device(9), {}, device(7)}
	})
	if want := []remap.Dev{device(1), device(7), device(9)}; !slices.Equal(a.Below(), want) {
		t.Errorf("below %v, want %v", a.Below(), want)
	}
}

// drawFlaws damages members: some are missing, some can be read in part.
func drawFlaws(t *rapid.T, c *Config) {
	for i := range c.Members {
		m := &c.Members[i]
		switch drawInt(t, "flaw", 0, 5) {
		case 0:
			*m = Member{}
		case 1:
			m.ReadableTo = remap.Sector(drawInt(t, "readable to", 0, int(m.Size)))
		case 2:
			m.Bad = []Bad{{remap.Sector(drawInt(t, "bad", 0, 20)), remap.Sector(drawInt(t, "bad length", 1, 20))}, {50, 3}, {60, 1}}
		}
	}
	c.Synced = remap.Sector(drawInt(t, "synced", 0, 2*int(c.Geometry.Size())))
}

// single spells a range out sector by sector, each asked for alone.
func single(t golden.TB, a *Array, op remap.Op, s, n remap.Sector) (got []string) {
	for ; n > 0; s, n = s+1, n-1 {
		got = append(got, describe(a.Map(op, s, 1)))
	}
	return got
}

// spelled spells the runs of a range out sector by sector.
func spelled(t golden.TB, a *Array, op remap.Op, s, n remap.Sector) (got []string) {
	for n > 0 {
		p := a.Map(op, s, n)
		if p.Len < 1 || p.Len > n || p.Layer != a.Layer {
			t.Fatalf("Map(%v, %d, %d) is %+v", op, s, n, p)
		}
		for range p.Len {
			got = append(got, describe(p))
			p.Leg.Start++
			for i := range p.Legs {
				p.Legs[i].Start++
			}
		}
		s, n = s+p.Len, n-p.Len
	}
	return got
}

// A range is covered without gaps, and however it is split, each sector has
// one and the same answer, with whatever flaws.
func TestSplitQueriesAreTheWhole(t *testing.T) {
	forEach(t, func(t *rapid.T, s sample) {
		c := whole(t, s.g).Config
		drawFlaws(t, &c)
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		start := remap.Sector(drawInt(t, "start", 0, int(s.g.Size())-1))
		n := remap.Sector(drawInt(t, "n", 1, min(400, int(s.g.Size()-start)+5)))
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			whole, alone := spelled(t, a, op, start, n), single(t, a, op, start, n)
			if !slices.Equal(whole, alone) {
				t.Fatalf("%s %v [%d,+%d)\n whole %v\nsplit %v", s.line, op, start, n, whole, alone)
			}
		}
	})
}

// What may be read is on a member that is there, in sync and not bad; and where
// that is so for any place of a sector, it can be read.
func TestOnlyReadablePlaces(t *testing.T) {
	forEach(t, func(t *rapid.T, s sample) {
		c := whole(t, s.g).Config
		drawFlaws(t, &c)
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for at := range s.g.Size() {
			var want []remap.Leg
			for _, spot := range spots(s.g, at) {
				if mayRead(&c.Members[spot.Slot], spot.Start) && (a.mirrored == nil || at < c.Synced) {
					want = append(want, remap.Leg{Dev: device(spot.Slot), Start: spot.Start, Readable: true})
				}
			}
			p := a.Map(remap.Read, at, 1)
			got := []remap.Leg{p.Leg}
			if p.Kind != remap.Data {
				got = slices.DeleteFunc(slices.Clone(p.Legs), func(l remap.Leg) bool { return !l.Readable })
			}
			slices.SortFunc(got, func(a, b remap.Leg) int { return int(a.Dev.Minor) - int(b.Dev.Minor) })
			if !slices.Equal(got, want) {
				t.Fatalf("%s: sector %d can be read at %v, want %v", s.line, at, got, want)
			}
		}
	})
}

func mayRead(m *Member, p remap.Sector) bool {
	bad := slices.ContainsFunc(m.Bad, func(b Bad) bool { return b.Start <= p && p < b.Start+b.Len })
	return m.Dev != (remap.Dev{}) && p < m.ReadableTo && !bad
}
