package blkthrottle

import (
	"errors"
	"testing"
)

const hz = 250

var kernels = map[string]Rules{
	"6.1":  {HZ: hz, Slice: hz / 10, Wraps: true, Least: 2},
	"6.12": {HZ: hz, Slice: hz / 10, Least: 2},
	"7.3":  {HZ: hz, Slice: hz / 10, Signed: true, Least: 1},
}

// ends tells when each read is let go, in jiffies, until a time.
func ends(d *Disk, until int64) map[*Bio]int64 {
	gone := make(map[*Bio]int64)
	for {
		at, waits := d.Next()
		if !waits || at > until {
			return gone
		}
		for _, b := range d.Fire(at) {
			gone[b] = at
		}
	}
}

func limited(t *testing.T, g *Group, now int64, limit uint64) {
	t.Helper()
	if err := g.SetLimit(now, limit); err != nil {
		t.Fatal(err)
	}
}

// TestOneQueue: reads of one group are let go one after the other, those of several side by side, as was seen on all three.
func TestOneQueue(t *testing.T) {
	const size, seconds = 16384, 4
	for name, r := range kernels {
		for _, apart := range []bool{false, true} {
			d := NewDisk(r)
			g := d.Group()
			var bios []*Bio
			for range 8 {
				if apart {
					g = d.Group()
					limited(t, g, 1000, size/seconds)
				} else if len(bios) == 0 {
					limited(t, g, 1000, 8*size/seconds)
				}
				b := &Bio{Size: size}
				if bios = append(bios, b); g.Submit(1000, b) {
					t.Fatal("it passes")
				}
			}
			gone := ends(d, 1000+10*seconds*hz)
			for i, b := range bios {
				want := int64(seconds * hz)
				if !apart {
					want = seconds * hz * int64(i+1) / 8
				}
				if got := gone[b] - 1000; got < want-r.Slice || got > want+r.Slice {
					t.Errorf("%s, apart: %t: read %d is let go after %d jiffies, want %d", name, apart, i, got, want)
				}
			}
		}
	}
}

// TestCarryover: what was waited for counts when the limit changes, whatever the lowest rate in between.
func TestCarryover(t *testing.T) {
	for name, r := range kernels {
		d := NewDisk(r)
		g := d.Group()
		limited(t, g, 1000, 16384)
		b := &Bio{Size: 65536}
		g.Submit(1000, b)
		limited(t, g, 1000+hz, 2) // after a second
		if gone := ends(d, 1000+60*hz); len(gone) > 0 {
			t.Fatalf("%s: a read at two bytes per second is let go", name)
		}
		limited(t, g, 1000+60*hz, (65536-16384-2*59)/4)
		at := ends(d, 1000+100*hz)[b]
		if after := at - (1000 + 60*hz); after < 4*hz-r.Slice || after > 4*hz+r.Slice {
			t.Errorf("%s: after %d jiffies of %d", name, after, 4*hz)
		}
	}
}

// TestCredit: a group that has been used lets the next read go early where what was waited for is kept; a new one does not.
func TestCredit(t *testing.T) {
	for name, r := range kernels {
		d := NewDisk(r)
		g := d.Group()
		var last int64
		now := int64(1000)
		for i := range 8 {
			limited(t, g, now, 1024)
			b := &Bio{Size: 4096}
			if g.Submit(now, b) {
				last = 0
				break
			}
			if i < 7 {
				limited(t, g, now+hz/2, Unlimited)
				now += hz
				ends(d, now)
				continue
			}
			last = ends(d, now+10*hz)[b] - now
		}
		if early := last < 4*hz-r.Slice; early == r.Signed {
			t.Errorf("%s: the last one is let go after %d jiffies", name, last)
		}
	}
}

// TestLimits: the least limits.
func TestLimits(t *testing.T) {
	for name, r := range kernels {
		g := NewDisk(r).Group()
		if err := g.SetLimit(0, r.Least-1); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
		limited(t, g, 0, r.Least)
	}
}

// TestWraps: on 6.1 a read that comes after one that went early can pass with it.
func TestWraps(t *testing.T) {
	for name, r := range kernels {
		d := NewDisk(r)
		g := d.Group()
		limited(t, g, 1000, 5000)
		g.Submit(1010, &Bio{Size: 500}) // a whole slice is allowed, although it has just begun
		second := &Bio{Size: 60000}
		if g.Submit(1010, second) {
			t.Fatal("it passes")
		}
		limited(t, g, 1011, 10)
		if at := ends(d, 1100)[second]; (at != 0) != r.Wraps {
			t.Errorf("%s: it is let go at %d", name, at)
		}
	}
}
