package dispatch_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// window is small enough for a volume to take eight.
const window = 256 * kib

// moments are where something can happen to the layout, in the third window.
var moments = []string{
	"after the plan", "before the hold", "after the hold", "before the comparison", "after the comparison",
	"before a command", "after a command", "before the last look", "after the last look", "before the release",
}

// when installs a hook that calls do once, at the moment.
func when(h *fakestack.Hooks, moment string, do func()) {
	once := sync.OnceFunc(do)
	at := func(number int) func(int) {
		return func(n int) {
			if n == number {
				once()
			}
		}
	}
	// Every window compares twice and, but for the first, takes one command.
	switch moment {
	case "after the plan":
		h.Drop = func(int, remap.Dev) { once() }
	case "before the hold":
		h.Hold = func(n int) error { at(2)(n); return nil }
	case "after the hold":
		h.Held = at(2)
	case "before the comparison":
		h.BeforeChanges = func(n int) error { at(4)(n); return nil }
	case "after the comparison":
		h.AfterChanges = at(4)
	case "before a command":
		h.Command = func(n int, _ *nvme.Command) { at(3)(n) }
	case "after a command":
		h.Landed = func(n int, _ *nvme.Command) { at(3)(n) }
	case "before the last look":
		h.BeforeChanges = func(n int) error { at(5)(n); return nil }
	case "after the last look":
		h.AfterChanges = at(5)
	case "before the release":
		h.Release = at(2)
	default:
		panic(moment)
	}
}

// mover moves one of the volumes, once, at some moment of a copy.
type mover struct {
	*volumes
	over <-chan struct{}
}

func (m *mover) begin(dev remap.Dev, table []fakestack.Segment) func() {
	return func() { m.over = m.Begin(dev, func() { m.Move(dev, table...) }) }
}

// TestMoves: whenever a volume moves to another place, what is in the old place
// belongs to somebody else, and neither is harmed.
func TestMoves(t *testing.T) {
	for _, which := range []string{"source", "destination"} {
		for _, moment := range moments {
			t.Run(which+" "+moment, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := &mover{volumes: newVolumes(t)}
					dev := m.dst
					if which == "source" {
						dev = m.src
					}
					when(&m.Hooks, moment, m.begin(dev, m.linear(spare)))
					rep := m.mustCopy(t, dispatch.Options{Window: window})
					if m.over == nil {
						t.Fatal("nothing was moved")
					}
					<-m.over
					if rep.LayoutChanges != 1 && moment != "after the plan" {
						t.Errorf("%+v", rep)
					}
				})
			})
		}
	}
}

// TestMovesLower: the same where it is a device below the volume that moves.
func TestMovesLower(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mover{volumes: newVolumes(t)}
				lower := m.dst
				m.dst = m.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: lower}})
				when(&m.Hooks, moment, m.begin(lower, m.linear(spare)))
				m.mustCopy(t, dispatch.Options{Window: window})
				<-m.over
			})
		})
	}
}

// TestSwapWaits: while commands are in flight the destination cannot be moved,
// and the copy does not offload a byte to the old place after it was.
func TestSwapWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mover{volumes: newVolumes(t)}
		when(&m.Hooks, "before a command", func() {
			m.begin(m.dst, m.linear(spare))()
			select {
			case <-m.over:
				t.Error("the swap did not wait for the command")
			default:
			}
		})
		if rep := m.mustCopy(t, dispatch.Options{Window: window}); rep.Offloaded != rep.Total || rep.Redone != 0 {
			t.Errorf("%+v", rep)
		}
		<-m.over
	})
}

// TestUnsafeSwap: on a machine whose anchors hold nothing, a destination that
// moves below commands is told of. It is too late to do anything else.
func TestUnsafeSwap(t *testing.T) {
	for _, moment := range []string{"after the comparison", "before a command", "after a command", "before the last look"} {
		for _, mode := range []hold.Mode{hold.Auto, hold.Trust} {
			t.Run(fmt.Sprint(moment, " ", mode), func(t *testing.T) {
				v := newVolumes(t)
				v.UnsafeSwaps = true
				when(&v.Hooks, moment, func() { v.Move(v.dst, v.linear(spare)...) })
				rep, err := v.copy(t, dispatch.Options{Window: window, Hold: mode})
				if err == nil || !strings.Contains(err.Error(), "destination changed") {
					t.Errorf("%v, %+v", err, rep)
				}
			})
		}
	}
}

// TestSwapToTheSamePlace: a destination that changed and lies where it did, as a
// multipath device on another path, costs a window and nothing else.
func TestSwapToTheSamePlace(t *testing.T) {
	for _, moment := range []string{"after the comparison", "before a command", "after a command", "before the last look"} {
		t.Run(moment, func(t *testing.T) {
			v := newVolumes(t)
			v.UnsafeSwaps = true
			half := volume / 2
			when(&v.Hooks, moment, func() {
				v.Swap(v.dst, fakestack.Segment{Len: half, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}},
					fakestack.Segment{Len: half, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace + half}})
			})
			rep := v.mustCopy(t, dispatch.Options{Window: window})
			if rep.Redone != window || reason(rep, plan.ReasonLayoutChanged) != window {
				t.Errorf("%+v", rep)
			}
		})
	}
	// Without a hold it may have been elsewhere in between.
	v := newVolumes(t)
	when(&v.Hooks, "before a command", func() {
		v.Swap(v.dst, fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}},
			fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace + volume/2}})
	})
	if rep, err := v.copy(t, dispatch.Options{Window: window, Hold: hold.Trust}); err == nil || !strings.Contains(err.Error(), "destination changed") {
		t.Errorf("trusted: %v, %+v", err, rep)
	}
}

// onPartition puts the destination on a partition.
func (m *mover) onPartition() (part remap.Dev) {
	part = m.AddPartition(m.ns, dstPlace, volume)
	m.dst = m.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: part}})
	return part
}

// TestGrownBelowCommands: a partition below the destination may be made longer at any
// time, and the destination be moved as soon as it is let go of. While the commands
// were under way it lay where they wrote: nobody is accused, also if one has failed.
func TestGrownBelowCommands(t *testing.T) {
	for _, moment := range []string{"after the comparison", "before a command", "after a command", "before the last look"} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprint(moment, " ", fails), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := &mover{volumes: newVolumes(t)}
					part := m.onPartition()
					when(&m.Hooks, moment, func() {
						m.Resize(part, 8)
						m.begin(m.dst, m.linear(spare))()
					})
					m.loop.SetFault(func(n int, _ *nvme.Command) nvme.Fault {
						if !fails || n < 3 {
							return nvme.Fault{}
						}
						return nvme.Fault{Status: nvme.StatusReservationConflict, At: 1}
					})
					_, err := m.copy(t, dispatch.Options{Window: window})
					if fails != errors.Is(err, nvme.StatusReservationConflict) || !fails && err != nil {
						t.Error(err)
					}
					if err != nil && strings.Contains(err.Error(), "destination changed") {
						t.Error(err)
					}
					<-m.over
				})
			})
		}
	}
}

// TestShrunk: an end that is made smaller while it is copied ends the copy, which says so, and how
// large it was.
func TestShrunk(t *testing.T) {
	for _, source := range []bool{false, true} {
		v := newVolumes(t)
		end := v.AddMapped(fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: spare}},
			fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: spare + volume}})
		if source {
			v.src = end
		} else {
			v.dst = end
		}
		when(&v.Hooks, "before the hold", func() { v.Shrink(end, false) })
		_, err := v.copy(t, dispatch.Options{Window: window})
		if err == nil || !errors.Is(err, remap.ErrOutOfRange) || errors.Is(err, failure.ErrRefused) {
			t.Fatalf("%v", err)
		}
		want := fmt.Sprintf("was made smaller while it was copied: it has %d bytes now, and had %d", remap.Sector(volume/2).Bytes(), remap.Sector(volume).Bytes())
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestNoConclusionWithoutHold: where the destination lies says where it lay only while
// the hold is on.
func TestNoConclusionWithoutHold(t *testing.T) {
	m := &mover{volumes: newVolumes(t)}
	part := m.onPartition()
	when(&m.Hooks, "after a command", func() {
		m.Resize(part, 8)
		m.Hooks.Stack = func(int) { m.Expire() }
	})
	if rep, err := m.copy(t, dispatch.Options{Window: window}); err == nil || !strings.Contains(err.Error(), "destination changed") {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestUnsafeSwapOfFailingCommand: a command that fails must not hide that the
// destination was moved below it.
func TestUnsafeSwapOfFailingCommand(t *testing.T) {
	v := newVolumes(t)
	v.UnsafeSwaps = true
	when(&v.Hooks, "before a command", func() { v.Move(v.dst, v.linear(spare)...) })
	v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
		if n < 3 {
			return nvme.Fault{}
		}
		return nvme.Fault{Status: nvme.StatusReservationConflict, At: 1}
	})
	_, err := v.copy(t, dispatch.Options{Window: window})
	if !errors.Is(err, nvme.StatusReservationConflict) || !strings.Contains(err.Error(), "destination changed") {
		t.Error(err)
	}
}

// TestHoldLost: an anchor that ends early is noticed, and the window done again.
func TestHoldLost(t *testing.T) {
	for _, moment := range []string{"after the hold", "after the comparison", "before a command", "after a command", "before the last look"} {
		t.Run(moment, func(t *testing.T) {
			v := newVolumes(t)
			when(&v.Hooks, moment, v.Expire)
			rep := v.mustCopy(t, dispatch.Options{Window: window})
			switch moment {
			case "before the last look":
				return // the anchor outlived the commands, which is all it has to
			case "after the hold", "after the comparison": // nothing was begun: it is planned again
				if rep.Offloaded != rep.Total || rep.Redone != 0 || v.Calls("hold") != 9 {
					t.Errorf("%+v", rep)
				}
				return
			}
			if reason(rep, plan.ReasonHoldLost) != window || rep.Redone != window {
				t.Errorf("%+v", rep)
			}
		})
	}
	t.Run("and the destination moved", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := &mover{volumes: newVolumes(t)}
			when(&m.Hooks, "before a command", func() {
				m.begin(m.dst, m.linear(spare))()
				m.Expire()
				<-m.over
			})
			if rep, err := m.copy(t, dispatch.Options{Window: window}); err == nil || !strings.Contains(err.Error(), "destination changed") {
				t.Errorf("%v, %+v", err, rep)
			}
		})
	})
	// A hold that is lost says nothing about the pair: the next windows are
	// offloaded.
	t.Run("while the proof hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			release := make(chan struct{})
			v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
				if n != 0 {
					return nvme.Fault{}
				}
				time.AfterFunc(500*time.Millisecond, v.Expire)
				time.AfterFunc(10*time.Second, func() { close(release) })
				return nvme.Fault{Hold: release}
			})
			rep := v.mustCopy(t, dispatch.Options{Window: window})
			if reason(rep, plan.ReasonHoldLost) != window || rep.Offloaded != rep.Total-window {
				t.Errorf("%+v", rep)
			}
		})
	})
	t.Run("while a command hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			release := make(chan struct{})
			v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
				if n != 1 {
					return nvme.Fault{}
				}
				time.AfterFunc(500*time.Millisecond, v.Expire)
				time.AfterFunc(10*time.Second, func() { close(release) })
				return nvme.Fault{Hold: release}
			})
			rep := v.mustCopy(t, dispatch.Options{InFlight: 1})
			if reason(rep, plan.ReasonHoldLost) != rep.Total {
				t.Errorf("%+v", rep)
			}
		})
	})
}

// TestHoldContended: a hold that others do not let happen is tried again, and
// not for ever.
func TestHoldContended(t *testing.T) {
	contended := func(times int) func(int) error {
		return func(n int) error {
			if n < times {
				return hold.ErrContended
			}
			return nil
		}
	}
	t.Run("for a while", func(t *testing.T) {
		v := newVolumes(t)
		v.Hooks.Hold = contended(5)
		if rep := v.mustCopy(t, dispatch.Options{}); rep.Offloaded != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
	t.Run("always", func(t *testing.T) {
		v := newVolumes(t)
		v.Hooks.Hold = contended(1 << 30)
		if rep := v.mustCopy(t, dispatch.Options{}); reason(rep, plan.ReasonHoldContended) != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
	t.Run("always, but offload is required", func(t *testing.T) {
		v := newVolumes(t)
		v.Hooks.Hold = contended(1 << 30)
		rep, err := v.copy(t, dispatch.Options{Offload: plan.OffloadRequire})
		if !errors.Is(err, failure.ErrLayout) || rep.Host+rep.Offloaded != 0 || v.Calls("write") > 0 {
			t.Errorf("%v, %+v", err, rep)
		}
	})
}

// TestHoldSlow: what is too slow to be held is copied through the host, or said to be too slow.
func TestHoldSlow(t *testing.T) {
	for policy, want := range map[plan.Policy]error{plan.OffloadAuto: nil, plan.OffloadRequire: failure.ErrPolicy} {
		v := newVolumes(t)
		v.Hooks.Hold = func(int) error { return hold.ErrSlow }
		rep, err := v.copy(t, dispatch.Options{Offload: policy})
		if !errors.Is(err, want) || errors.Is(err, failure.ErrLayout) || rep.Offloaded != 0 || rep.LayoutChanges != 0 {
			t.Errorf("%s: %v, %+v", policy, err, rep)
		}
		if want == nil && reason(rep, plan.ReasonHoldSlow) != rep.Total {
			t.Errorf("%s: %+v", policy, rep)
		}
		if want != nil && !strings.Contains(err.Error(), string(plan.ReasonHoldSlow)) {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

// TestRestless: a layout that changes before every hold does not keep the copy
// from ending, nor from being right.
func TestRestless(t *testing.T) {
	v := newVolumes(t)
	places := []remap.Sector{spare, dstPlace}
	v.Hooks.Hold = func(n int) error {
		v.Move(v.dst, v.linear(places[n%2])...)
		return nil
	}
	rep := v.mustCopy(t, dispatch.Options{})
	if rep.LayoutChanges < 2 {
		t.Errorf("%+v", rep)
	}
}

// TestSuspended: a device that stays suspended ends the copy, in time.
func TestSuspended(t *testing.T) {
	for _, which := range []string{"source", "destination"} {
		for _, moment := range []string{"from the start", "before the hold", "before the comparison"} {
			t.Run(which+" "+moment, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := newVolumes(t)
					dev := v.dst
					if which == "source" {
						dev = v.src
					}
					suspend := func() { v.Suspend(dev) }
					if moment == "from the start" {
						suspend()
					} else {
						when(&v.Hooks, moment, suspend)
					}
					want := v.expect()
					began := time.Now()
					rep, err := v.copy(t, dispatch.Options{Window: window, Waits: dispatch.Waits{Patience: 7 * time.Second}})
					if !errors.Is(err, failure.ErrLayout) {
						t.Errorf("%v, %+v", err, rep)
					}
					if took := time.Since(began); took < 7*time.Second || took > 10*time.Second {
						t.Errorf("given up after %v", took)
					}
					untouched(t, want)
				})
			})
		}
	}
	t.Run("for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			when(&v.Hooks, "before the hold", func() {
				v.Suspend(v.dst)
				time.AfterFunc(3*time.Second, func() { v.Resume(v.dst) })
			})
			if rep := v.mustCopy(t, dispatch.Options{Window: window}); rep.Offloaded != rep.Total {
				t.Errorf("%+v", rep)
			}
		})
	})
}

// TestSuspendedWhileRedoing: a window that has to be done again is not copied
// into a suspended device, where it would hang.
func TestSuspendedWhileRedoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		when(&v.Hooks, "before a command", func() {
			v.Move(v.src, v.linear(spare)...)
			v.Suspend(v.src)
		})
		began := time.Now()
		rep, err := v.copy(t, dispatch.Options{Window: window, Waits: dispatch.Waits{Patience: 5 * time.Second}})
		if !errors.Is(err, failure.ErrLayout) || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %v, %+v", err, time.Since(began), rep)
		}
	})
}

// TestStaged: a table that waits to be resumed is a reason to wait. During a
// window it changes nothing: it waits, too.
func TestStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		when(&v.Hooks, "before a command", func() { v.Stage(v.dst, true) })
		time.AfterFunc(2*time.Second, func() { v.Stage(v.dst, false) })
		if rep := v.mustCopy(t, dispatch.Options{Window: window}); rep.Offloaded != rep.Total || rep.Redone != 0 {
			t.Errorf("%+v", rep)
		}
	})
}

// TestRequireAfterMove: a volume that moves to where nothing can be offloaded
// does not soften the policy.
func TestRequireAfterMove(t *testing.T) {
	for _, which := range []string{"source", "destination"} {
		t.Run(which, func(t *testing.T) {
			v := newVolumes(t)
			disk := v.AddDisk(volume, sector)
			dev := v.dst
			if which == "source" {
				dev = v.src
			}
			when(&v.Hooks, "before the hold", func() {
				v.Move(dev, fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: disk}})
			})
			rep, err := v.copy(t, dispatch.Options{Window: window, Offload: plan.OffloadRequire})
			if !errors.Is(err, failure.ErrPolicy) || v.Calls("write") > 0 {
				t.Errorf("%v, %+v", err, rep)
			}
			if !strings.Contains(err.Error(), "after the copy was begun") { // nobody is to think that nothing was written
				t.Errorf("%v", err)
			}
		})
	}
}

// TestZeroSourceSwapped: a source that read as zeroes when the plan was made,
// and holds data when its turn comes, is copied as it is then.
func TestZeroSourceSwapped(t *testing.T) {
	for _, moment := range []string{"with an offloaded neighbour", "alone"} {
		t.Run(moment, func(t *testing.T) {
			v := newVolumes(t)
			if moment == "alone" {
				v.Swap(v.src, fakestack.Segment{Len: volume, Target: fakestack.Zero{}})
			} else {
				v.Swap(v.src, fakestack.Segment{Len: volume / 2, Target: fakestack.Zero{}},
					fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: srcPlace + volume/2}})
			}
			v.Hooks.Drop = func(int, remap.Dev) { // right after the plan, before the first window
				v.Swap(v.src, v.linear(srcPlace)...)
			}
			if rep, err := v.copy(t, dispatch.Options{}); err != nil || rep.Recopied != 0 { // nothing is left to a comparison in samples
				t.Errorf("%v, %+v", err, rep)
			}
			src, dst := v.Content(v.src, 0, volume), v.Content(v.dst, 0, volume)
			if string(src) != string(dst) {
				t.Error("the destination does not hold what the source holds since before it was read")
			}
		})
	}
}

// TestRemovedLower: a temporary device below, that was there when the plan was
// made and is gone at the end, as after pvmove, is no reason to fail.
func TestRemovedLower(t *testing.T) {
	v := newVolumes(t)
	temporary := v.AddMapped(v.linear(dstPlace)...)
	v.Swap(v.dst, fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: temporary}})
	writes := 0
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op != "write" {
			return
		}
		if writes++; writes == 2 {
			v.Swap(v.dst, v.linear(dstPlace)...)
			v.Remove(temporary)
		}
	}
	v.mustCopy(t, dispatch.Options{Offload: plan.OffloadNever, InFlight: 1})
}

// TestManyWays: a destination of many parts is held on every way that is
// written, whatever moves.
func TestManyWays(t *testing.T) {
	for moved := range 4 {
		t.Run(fmt.Sprint("part ", moved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mover{volumes: newVolumes(t)}
				var parts []remap.Dev
				var segments []fakestack.Segment
				for i := range remap.Sector(4) {
					part := m.AddVolume(fmt.Sprint("vg", i), fakestack.Segment{Len: volume / 4, Target: fakestack.Linear{Dev: m.ns, Start: dstPlace + i*volume/4}})
					parts = append(parts, part)
					segments = append(segments, fakestack.Segment{Len: volume / 4, Target: fakestack.Linear{Dev: part}})
				}
				m.Swap(m.dst, segments...)
				to := fakestack.Segment{Len: volume / 4, Target: fakestack.Linear{Dev: m.ns, Start: spare}}
				m.Hooks.Command = func(n int, _ *nvme.Command) {
					if n == 1 {
						m.begin(parts[moved], []fakestack.Segment{to})()
						select {
						case <-m.over:
							t.Error("the part was not held")
						default:
						}
					}
				}
				m.mustCopy(t, dispatch.Options{})
				<-m.over
			})
		})
	}
}
