package dispatch_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// aStop is for longer than a hold lasts.
const aStop = 10 * time.Second

// TestStopped: the process is stopped at some moment of the third window, for longer than
// the hold lasts.
func TestStopped(t *testing.T) {
	// What of the window is planned again, what is done again through the host, and whether
	// a destination that moved meanwhile may have been written to.
	outcomes := map[string]struct {
		again, redone int64
		moved         bool
	}{
		"after the hold": {}, "before the comparison": {}, "after the comparison": {}, // nothing was begun
		"before a command":     {again: window},
		"after a command":      {redone: window, moved: true},
		"before the last look": {moved: true},                // all was done, but who moved it then?
		"after the last look":  {}, "before the release": {}, // all was done
	}
	for moment, want := range outcomes {
		t.Run(moment, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVolumes(t)
				when(&v.Hooks, moment, func() { v.Halt(aStop); v.Await() })
				rep := v.mustCopy(t, dispatch.Options{Window: window})
				if rep.LayoutChanges != 0 || rep.Postponed != want.again || rep.Redone != want.redone || reason(rep, plan.ReasonHoldLost) != want.redone || rep.Offloaded != rep.Total-want.redone {
					t.Errorf("%+v", rep)
				}
			})
		})
		t.Run(moment+", and the destination moves", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mover{volumes: newVolumes(t)}
				expected := m.Expect(m.src, m.dst, byterange.Range{Len: volume.Bytes()})
				when(&m.Hooks, moment, func() {
					m.begin(m.dst, m.linear(spare))()
					m.Halt(aStop)
					m.Await()
				})
				rep, err := m.copy(t, dispatch.Options{Window: window})
				<-m.over
				if want.moved {
					if err == nil || !strings.Contains(err.Error(), "destination changed") || expected.Untouched() != nil {
						t.Errorf("%v, %v, %+v", err, expected.Untouched(), rep)
					}
					return
				}
				copied(t, expected)
				if err != nil || rep.LayoutChanges != 1 || rep.Redone != 0 || rep.Postponed != want.again {
					t.Errorf("%v, %+v", err, rep)
				}
			})
		})
	}
}

// TestStoppedInEveryKind: no command of any method is begun after its hold has ended,
// whichever is the next when the process is stopped: not one of a proof, nor one of those
// that go together, nor one that is sent again.
func TestStoppedInEveryKind(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			var ended [2]int // well, and because the destination was moved
			var postponed int64
			for number := range 16 {
				synctest.Test(t, func(t *testing.T) {
					m, src, dst := kind(t)
					elsewhere := m.AddDisk(volume, 512)
					var over <-chan struct{}
					stop := func(n int) {
						if n == number {
							over = m.Begin(dst, func() {
								m.Move(dst, fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: elsewhere}})
							})
							m.Halt(aStop)
						}
					}
					m.Hooks.Command = func(n int, _ *nvme.Command) { stop(n) }
					m.Hooks.Sent = func(n int, _ *scsi.Command) { stop(n) }
					want := m.Expect(src, dst, byterange.Range{Len: volume.Bytes()})
					rep, err := copyOf(t, m, src, dst, dispatch.Options{Window: 512 * kib, InFlight: 2})
					if over == nil {
						return // there are not so many
					}
					<-over
					postponed += rep.Postponed
					if err == nil {
						ended[0]++
						copied(t, want)
						return
					}
					ended[1]++
					if untouched := want.Untouched(); untouched != nil || !strings.Contains(err.Error(), "destination changed") {
						t.Errorf("command %d: %v, %v, %+v", number, untouched, err, rep)
					}
				})
			}
			if ended[0] == 0 || postponed == 0 {
				t.Errorf("ended well and otherwise %v times, %d bytes planned again", ended, postponed)
			}
		})
	}
}
