package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// A volume is one window of many commands, the first few of which are the proof.
const (
	command  = 32 * kib
	commands = 2 * mib / command
	proof    = 64 * kib / command
)

// oneByOne sends them one after the other.
var oneByOne = dispatch.Options{InFlight: 1}

func newNoisy(t testing.TB) *mover {
	v := newVolumesOn(t, fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: command / sector, CommandBlocks: command / sector, Ranges: 1}})
	t.Cleanup(func() {
		if n := v.Watches(); n > 0 {
			t.Errorf("%d watches were left behind", n)
		}
	})
	return &mover{volumes: v}
}

// hear tells of the device, and returns when what follows from it is done.
func (m *mover) hear(t *testing.T, dev remap.Dev) {
	t.Helper()
	if n := m.Wake(dev); n != 1 {
		t.Errorf("%d watches are concerned with %v", n, dev)
	}
	synctest.Wait()
}

// atCommand does something when a command is back, and notes how many there were when
// the first hold ended.
func (m *mover) atCommand(number int, do func()) (issued *int) {
	issued = new(int)
	m.Hooks.Landed = func(n int, _ *nvme.Command) {
		if n == number {
			do()
		}
	}
	m.Hooks.Release = func(n int) {
		if n == 0 {
			*issued = m.Calls("command")
		}
	}
	return issued
}

// TestEventOfSource: a source that moves costs the commands that were begun when it
// had an event, and not the window.
func TestEventOfSource(t *testing.T) {
	for _, event := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := newNoisy(t)
			issued := m.atCommand(10, func() {
				m.Move(m.src, m.linear(spare)...)
				if event {
					m.hear(t, m.src)
				}
			})
			rep := m.mustCopy(t, oneByOne)
			want := commands
			if event {
				want = 11
			}
			if *issued != want || rep.Redone != int64(want)*command || rep.Offloaded != rep.Total-rep.Redone || rep.LayoutChanges != 1 {
				t.Errorf("event: %v: %d commands, %+v", event, *issued, rep)
			}
		})
	}
}

// TestEventOfWaiter: who waits for the hold to end waits for the commands that were
// begun at the event, and nothing is copied twice.
func TestEventOfWaiter(t *testing.T) {
	for _, event := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := newNoisy(t)
			var waited time.Duration
			done := make(chan struct{})
			m.Hooks.Landed = func(n int, _ *nvme.Command) {
				time.Sleep(50 * time.Millisecond)
				if n != 10 {
					return
				}
				m.begin(m.dst, m.linear(spare))()
				go func(began time.Time) {
					<-m.over
					waited = time.Since(began)
					close(done)
				}(time.Now())
				if event {
					m.hear(t, m.dst)
				}
			}
			rep := m.mustCopy(t, oneByOne)
			<-done
			if rep.Redone != 0 || rep.Offloaded != rep.Total || (rep.Windows > 1) != event {
				t.Errorf("event: %v: %+v", event, rep)
			}
			if short := waited < 100*time.Millisecond; short != event {
				t.Errorf("event: %v: waited for %v", event, waited)
			}
		})
	}
}

// TestEventWithoutChange: news of a layout that is the planned one cut nothing, and are looked
// into now and then.
func TestEventWithoutChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		other := m.AddMapped(m.linear(spare)...)
		m.Hooks.Command = func(int, *nvme.Command) {
			time.Sleep(10 * time.Millisecond)
			if m.Wake(other) != 0 {
				t.Error("somebody else's device disturbs")
			}
			m.hear(t, m.src)
			m.hear(t, m.dst)
			m.hear(t, m.ns)
		}
		rep := m.mustCopy(t, oneByOne)
		if rep.Windows != 1 || rep.Redone != 0 || rep.Commands != commands || rep.LayoutChanges != 0 {
			t.Errorf("%+v", rep)
		}
		const most = commands * 10 / 50
		// Before the commands, after them, and at the end it is compared in any case.
		if looks := m.Calls("changes") - 3; looks < most/2 || looks > most+2 {
			t.Errorf("%d looks", looks)
		}
	})
}

// TestThereAndBack: a source that was seen elsewhere was elsewhere, although it is
// back when the last command is.
func TestThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		issued := m.atCommand(10, func() {
			m.hear(t, m.src)
			m.Move(m.src, m.linear(srcPlace)...)
		})
		m.Hooks.Command = func(n int, _ *nvme.Command) {
			if n == 10 {
				m.Move(m.src, m.linear(spare)...)
			}
		}
		if rep := m.mustCopy(t, oneByOne); *issued != 11 || rep.Redone != 11*command {
			t.Errorf("%d commands, %+v", *issued, rep)
		}
	})
}

// TestStormOfMoves: where the source moves at every command, each window does one,
// and the copy goes on and ends.
func TestStormOfMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		places := []remap.Sector{spare, srcPlace}
		m.Hooks.Landed = func(n int, _ *nvme.Command) {
			if n >= proof {
				m.Move(m.src, m.linear(places[n%2])...)
				m.hear(t, m.src)
			}
		}
		rep := m.mustCopy(t, oneByOne)
		if rep.Windows != commands-proof || rep.Redone != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
}

// TestStormBeforeCommands: where the layout changes before anything can be issued,
// the copy ends nevertheless.
func TestStormBeforeCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		places := []remap.Sector{spare, srcPlace}
		moves := 0
		m.Hooks.AfterChanges = func(int) {
			m.Move(m.src, m.linear(places[moves%2])...)
			moves++
			m.Wake(m.src)
		}
		rep := m.mustCopy(t, oneByOne)
		if rep.Host != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
}

// staged prepares a change of the destination for a second.
func (m *mover) staged(t *testing.T) {
	m.Stage(m.dst, true)
	time.AfterFunc(time.Second, func() { m.Stage(m.dst, false) })
	m.hear(t, m.dst)
}

// TestEventInProof: a pair is proven whatever the events, and whatever the destination held.
func TestEventInProof(t *testing.T) {
	for _, equal := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newNoisy(t)
			if equal {
				m.Fill(m.dst, 0, m.Content(m.src, 0, volume))
			}
			issued := m.atCommand(0, func() { m.staged(t) })
			rep := m.mustCopy(t, oneByOne)
			if *issued != proof || rep.Redone != 0 || rep.Offloaded != rep.Total {
				t.Errorf("equal: %v: %d commands, %+v", equal, *issued, rep)
			}
		})
	}
}

// TestEventAndHoldLost: what was begun counts for nothing, and what was not begun is
// offloaded later.
func TestEventAndHoldLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		issued := m.atCommand(10, func() {
			m.staged(t)
			m.Expire()
		})
		rep := m.mustCopy(t, oneByOne)
		if *issued != 11 || rep.Redone != 11*command || reason(rep, plan.ReasonHoldLost) != 11*command {
			t.Errorf("%d commands, %+v", *issued, rep)
		}
	})
}

// TestEventOfMove: that the destination moved below commands is told, although
// the window was cut short.
func TestEventOfMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		m.UnsafeSwaps = true
		issued := m.atCommand(10, func() {
			m.Move(m.dst, m.linear(spare)...)
			m.hear(t, m.dst)
		})
		rep, err := m.copy(t, dispatch.Options{InFlight: 1, Hold: hold.Trust})
		if err == nil || rep.Result != account.OutcomeFailed || *issued != 11 {
			t.Errorf("%d commands, %v, %+v", *issued, err, rep)
		}
	})
}

// TestMovesWithEvents: whenever a volume moves, with an event at once.
func TestMovesWithEvents(t *testing.T) {
	for _, which := range []string{"source", "destination"} {
		for _, moment := range moments {
			t.Run(which+" "+moment, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newNoisy(t)
					dev := m.dst
					if which == "source" {
						dev = m.src
					}
					when(&m.Hooks, moment, func() {
						m.begin(dev, m.linear(spare))()
						m.Wake(dev)
					})
					m.mustCopy(t, dispatch.Options{Window: window})
					<-m.over
				})
			})
		}
	}
}

// TestEventAndResume: a copy that ends after a window was cut short is gone on with,
// and what was not begun is not taken for done.
func TestEventAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newNoisy(t)
		c := newResumable(t, m.volumes)
		c.opts.Window = 0
		m.atCommand(10, func() { m.staged(t) })
		ctx, cancel := context.WithCancel(t.Context())
		m.Hooks.Hold = func(n int) error {
			if n == 1 {
				cancel()
			}
			return nil
		}
		rep, err := c.run(ctx, t)
		if !errors.Is(err, failure.ErrInterrupted) || rep.Offloaded != 11*command {
			t.Errorf("%v, %+v", err, rep)
		}
		if left := c.needed(t); left != rep.Total-11*command {
			t.Errorf("%d bytes are left", left)
		}
		if rep, err = c.run(t.Context(), t); err != nil || c.needed(t) != 0 {
			t.Errorf("%v, %+v", err, rep)
		}
	})
}
