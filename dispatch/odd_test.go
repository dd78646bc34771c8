package dispatch_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// A device that cannot be read as a whole is copied through the kernel, as a whole or
// where others pass it, and of it alone the reason is told.
func TestOddDevice(t *testing.T) {
	for what, c := range map[string]struct {
		odd  fakestack.Oddity
		wait bool
	}{
		"odd":             {fakestack.Oddity{}, false},
		"of unknown size": {fakestack.Oddity{Sizeless: true}, false},
		"never the same":  {fakestack.Oddity{Moving: true}, true},
	} {
		for _, end := range []string{"source", "destination"} {
			t.Run(what+" "+end, func(t *testing.T) {
				v := newVolumes(t)
				v.Odd(map[string]remap.Dev{"source": v.src, "destination": v.dst}[end], &c.odd)
				began := time.Now()
				rep := mustCopy(t, v.Machine, v.src, v.dst, dispatch.Options{Waits: dispatch.Waits{Patience: 100 * time.Millisecond}})
				if rep.Host != rep.Total || reason(rep, sysblock.ReasonUnread) != rep.Total {
					t.Errorf("%+v", rep)
				}
				if c.wait && time.Since(began) < 100*time.Millisecond {
					t.Error("it was not waited for")
				}
			})
		}
	}
}

// Half of the destination is on an odd device: the other half is offloaded.
func TestOddHalf(t *testing.T) {
	v := newVolumes(t)
	odd := v.AddMapped(fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: spare}})
	dst := v.AddMapped(
		fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: odd}},
		fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: spare + volume}})
	v.Odd(odd, &fakestack.Oddity{})
	rep := mustCopy(t, v.Machine, v.src, dst, dispatch.Options{})
	if rep.Offloaded != rep.Total/2 || reason(rep, sysblock.ReasonUnread) != rep.Total/2 {
		t.Errorf("%+v", rep)
	}
}

// A copy that meets a device that becomes odd goes on, and offloads again when it is not
// any more.
func TestOddInBetween(t *testing.T) {
	for _, end := range []string{"source", "destination", "disk"} {
		for _, at := range []int{0, 1, 5} {
			v := newVolumes(t)
			dev := map[string]remap.Dev{"source": v.src, "destination": v.dst, "disk": v.ns}[end]
			v.Hooks.BeforeChanges = func(n int) error {
				if n == at {
					v.Odd(dev, &fakestack.Oddity{})
				}
				return nil
			}
			rep, err := copyOf(t, v.Machine, v.src, v.dst, dispatch.Options{Window: window})
			switch {
			// Where commands wrote is not known if what they wrote through is odd right after them.
			case (err != nil) != (at%2 == 1 && end != "source"):
				t.Errorf("%s, %d: %v, %+v", end, at, err, rep)
			case err != nil:
			case rep.Host == 0 || at > 1 && rep.Offloaded == 0:
				t.Errorf("%s, %d: %+v", end, at, rep)
			}
		}
	}
}

// What may be made of the other end is refused.
func TestOddAbove(t *testing.T) {
	for _, blind := range []bool{false, true} {
		for _, swapped := range []bool{false, true} {
			v := newVolumes(t)
			v.Odd(v.dst, &fakestack.Oddity{Blind: blind})
			src, dst := v.ns, v.dst
			if swapped {
				src, dst = dst, src
			}
			want := v.Expect(src, dst)
			_, err := copyOf(t, v.Machine, src, dst, dispatch.Options{}, byterange.Range{Len: mib})
			if !errors.Is(err, failure.ErrRefused) {
				t.Errorf("blind %v: %v", blind, err)
			}
			untouched(t, want)
		}
	}
}
