package dispatch_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// Times are of the bubble's clock: nothing but waiting takes any.

func TestRate(t *testing.T) {
	for name, opts := range map[string]dispatch.Options{
		"offloaded": {}, "host": {Offload: plan.OffloadNever}, "verified": {Verify: account.VerifyFull},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			const rate = 256 * kib
			opts.Rate = func() int64 { return rate }
			moved := volume.Bytes()
			if opts.Verify == account.VerifyFull {
				moved *= 2
			}
			began := time.Now()
			rep := v.mustCopy(t, opts)
			took, slice := time.Since(began), 500*time.Millisecond
			if want := time.Duration(moved/rate) * time.Second; took < want-slice || took > want {
				t.Errorf("%s: took %v, want about %v: %+v", name, took, want, rep)
			}
			if rep.Windows != volume.Bytes()/(rate/2) {
				t.Errorf("%s: %+v", name, rep)
			}
		})
	}
}

// TestRateChanges: a rate can be changed at any time, even while it is waited
// for; 0 is a pause, which is not made up for.
func TestRateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		began := time.Now()
		rate := func() int64 {
			switch at := time.Since(began); {
			case at < 10*time.Second:
				return 1 // the first window is all there is
			case at < time.Hour:
				return 0
			case at < time.Hour+2*time.Second:
				return 512 * kib
			}
			return pace.Unlimited
		}
		v.mustCopy(t, dispatch.Options{Pacing: dispatch.Pacing{Rate: rate}})
		if took := time.Since(began); took < time.Hour+2*time.Second || took > time.Hour+3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestPauseEnds: a copy that is paused can be interrupted.
func TestPauseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{Pacing: dispatch.Pacing{Rate: func() int64 { return 0 }}})
		if took := time.Since(began); !errors.Is(err, failure.ErrInterrupted) || took != time.Minute {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestPauseSaves: what was copied before a pause is recorded while it lasts.
func TestPauseSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newResumable(t, newVolumes(t))
		var paused atomic.Bool
		c.opts.Window, c.opts.JournalEvery = window, 5*time.Second
		c.opts.Rate = func() int64 {
			if paused.Load() {
				return 0
			}
			return pace.Unlimited
		}
		c.Hooks.Release = func(n int) { paused.Store(n == 2) }
		over := make(chan error)
		go func() {
			_, err := c.run(context.Background(), t)
			over <- err
		}()
		time.Sleep(10 * time.Second)
		saved := c.needed(t)
		if saved != volume.Bytes()-3*window {
			t.Errorf("%d bytes are left", saved)
		}
		c.Crash()
		if left := c.needed(t); left != saved {
			t.Errorf("%d bytes are left after a crash, %d before", left, saved)
		}
		paused.Store(false)
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}

// TestTinyRate: whatever the rate, the copy goes on.
func TestTinyRate(t *testing.T) {
	for _, block := range []int{512, 4096} {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumesOn(t, fakestack.Namespace{Block: block, Limits: fakestack.Roomy})
			rep := v.mustCopy(t, dispatch.Options{Pacing: dispatch.Pacing{Rate: func() int64 { return 1 }}}, byterange.Range{Len: 256 * kib})
			if rep.Windows != 4 {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestNice gives way to a reader whose reads take long whenever a command of the copy
// is among them, and not to nobody; no copy takes for ever.
func TestNice(t *testing.T) {
	for name, reads := range map[string]uint64{"others": 1000, "nobody": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVolumes(t)
				v.Hooks.Command = func(int, *nvme.Command) { time.Sleep(100 * time.Millisecond) }
				began := time.Now()
				stat := func(dev remap.Dev) (sysblock.IOStat, error) {
					if dev != v.ns {
						t.Errorf("asks for %s", dev)
					}
					// So many reads of 2 ms a second, and the same of 100 ms for each command.
					seconds, commands := time.Since(began).Seconds(), uint64(v.Calls("command"))
					n := uint64(seconds * float64(reads))
					return sysblock.IOStat{Reads: n + commands*reads, ReadTicks: uint32(2*n + 100*commands*reads)}, nil
				}
				rep := v.mustCopy(t, dispatch.Options{Window: 256 * kib, Pacing: dispatch.Pacing{Nice: &pace.Nice{Stat: stat}}})
				took := time.Since(began)
				// A command takes 100 ms, and so does a window.
				full := time.Duration(rep.Commands) * 100 * time.Millisecond
				if reads == 0 && (rep.Backoffs > 0 || took > full+200*time.Millisecond) {
					t.Errorf("%v: %+v", took, rep)
				}
				if reads > 0 && (rep.Backoffs == 0 || took < full*3/2 || took > 3*time.Second) {
					t.Errorf("%v: %+v", took, rep)
				}
			})
		})
	}
}
