package pace

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// busyDisk is a disk that others use, by reads that take longer the faster a copy goes.
type busyDisk struct {
	ios   float64       // of others, a second
	alone time.Duration // that one of them takes without the copy
	top   float64       // the speed that a copy can have, in bytes a second
	// slows is the speed at which one of them takes twice as long.
	slows float64
}

// windows has a copy go on for so many windows of a quarter of a second each.
func (d *busyDisk) windows(n *niceness, count int) {
	const took = 250 * time.Millisecond
	for i := range count {
		if i%4 == 0 {
			ios := d.ios * quietTime.Seconds()
			n.updateBaseline(load{ios: ios, time: time.Duration(ios * float64(d.alone))})
		}
		speed := float64(n.rate(int64(d.top)))
		latency := time.Duration(float64(d.alone) * (1 + speed/d.slows))
		ios := d.ios * took.Seconds()
		n.adjustRate(load{ios: ios, time: time.Duration(ios * float64(latency))}, int64(speed*took.Seconds()), took)
	}
}

func testNiceness(bound time.Duration) *niceness {
	n := newNiceness(&Nice{Bound: bound}, account.New(func(account.Progress) {}), slog.New(slog.DiscardHandler))
	return &n
}

// TestNiceAlone: who has the disks to himself is not slowed down.
func TestNiceAlone(t *testing.T) {
	n := testNiceness(0)
	d := busyDisk{alone: time.Millisecond, top: 1 << 30, slows: 1}
	d.windows(n, 1000)
	if n.limit >= 0 || n.account.Counted(account.Backoffs) > 0 {
		t.Errorf("%+v", n)
	}
}

// TestNiceGivesWay: the rate swings between half of what others stand and that, and
// is what it was once they are gone.
func TestNiceGivesWay(t *testing.T) {
	for _, bound := range []time.Duration{0, 8 * time.Millisecond} {
		n := testNiceness(bound)
		d := busyDisk{ios: 400, alone: 4 * time.Millisecond, top: 1 << 30, slows: 128 << 20}
		d.windows(n, 100)
		step := d.top / niceSteps
		for range 1000 {
			d.windows(n, 1)
			if n.limit < d.slows/2-1 || n.limit > d.slows+1.01*step {
				t.Fatalf("bound %v: the rate is %v", bound, n.limit)
			}
		}
		if n.account.Counted(account.Backoffs) < 100 {
			t.Errorf("bound %v: %d times", bound, n.account.Counted(account.Backoffs))
		}
		d.ios = 0
		d.windows(n, 100)
		if n.limit >= 0 {
			t.Errorf("bound %v: the rate stays %v", bound, n.limit)
		}
	}
}

// TestNiceGoesOn: whatever the disks do, there is a rate, and it is a decent one.
func TestNiceGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := testNiceness(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "bound")))
		loads := func(what string) load {
			return load{ios: float64(rapid.IntRange(0, 1<<20).Draw(t, what)), time: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, what+" time"))}
		}
		for range rapid.IntRange(1, 50).Draw(t, "windows") {
			if rapid.Bool().Draw(t, "pause") {
				n.updateBaseline(loads("quiet"))
			}
			n.adjustRate(loads("busy"), rapid.Int64Range(0, 1<<40).Draw(t, "bytes"), time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "took")))
			other := rapid.SampledFrom([]int64{Unlimited, 0, 1, niceFloor, 1 << 30}).Draw(t, "rate")
			got := n.rate(other)
			if other >= 0 && (got < 0 || got > other) || got >= 0 && got < min(niceFloor, orMost(other)) {
				t.Fatalf("rate %d of %d: %+v", got, other, n)
			}
		}
	})
}

// orMost takes no limit for a very high one.
func orMost(rate int64) int64 {
	if rate < 0 {
		return 1 << 62
	}
	return rate
}

// TestNiceUnknown: who wants to be nice gets to know that he cannot be.
func TestNiceUnknown(t *testing.T) {
	var said bytes.Buffer
	n := newNiceness(&Nice{}, account.New(func(account.Progress) {}), slog.New(slog.NewTextHandler(&said, nil)))
	n.watch(nil, plan.SrcFile, plan.DstFile)
	if !strings.Contains(said.String(), "not given way to") {
		t.Errorf("says %q", said.String())
	}
	if moved, err := n.moveMeasured(func() (int64, error) { return 7, nil }); moved != 7 || err != nil {
		t.Errorf("%d, %v", moved, err)
	}
}

// TestNiceBlind: disks that tell nothing are watched no more, and nobody waits.
func TestNiceBlind(t *testing.T) {
	n := testNiceness(0)
	one, two := remap.Dev{Major: 8}, remap.Dev{Major: 9}
	n.disks = []remap.Dev{one, two}
	n.Stat = func(dev remap.Dev) (sysblock.IOStat, error) {
		if dev == one {
			return sysblock.IOStat{}, errors.New("gone")
		}
		return sysblock.IOStat{Reads: 7, ReadTicks: 14}, nil
	}
	if l := n.since(map[remap.Dev]sysblock.IOStat{}); l.ios != 7 || l.mean() != 2*time.Millisecond || len(n.disks) != 1 {
		t.Errorf("%+v, %v", l, n.disks)
	}
}
