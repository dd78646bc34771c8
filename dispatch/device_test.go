package dispatch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestLimits: whatever a namespace allows in one command is obeyed, and one that
// allows nothing is left alone.
func TestLimits(t *testing.T) {
	tests := []struct {
		name      string
		namespace fakestack.Namespace
		reason    remap.Reason // empty: offloads
	}{
		{"one block", fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 1, CommandBlocks: 1, Ranges: 1}}, ""},
		{"one block a range", fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 1, CommandBlocks: 100, Ranges: 7}}, ""},
		{"4096 bytes a block", fakestack.Namespace{Block: 4096, Limits: nvme.Limits{RangeBlocks: 16, CommandBlocks: 40, Ranges: 3}}, ""},
		{"MSSRL 0", fakestack.Namespace{Limits: nvme.Limits{CommandBlocks: 100, Ranges: 7}}, "limit:zero"},
		{"MCL 0", fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 100, Ranges: 7}}, "limit:zero"},
		{"no Copy", fakestack.Namespace{Limits: fakestack.Roomy, NoCopy: true}, "domain:no-copy-command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVolumesOn(t, tt.namespace)
			rep := v.mustCopy(t, dispatch.Options{}, byterange.Range{Len: 256 * kib})
			if offloaded := rep.Total - reason(rep, tt.reason); rep.Offloaded != offloaded {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestLimitsSmallerThanReported: the copier finds the real limits by itself.
func TestLimitsSmallerThanReported(t *testing.T) {
	v := newVolumes(t)
	v.loop.SetEnforced(1, nvme.Limits{RangeBlocks: 16, CommandBlocks: 24, Ranges: 2})
	if rep := v.mustCopy(t, dispatch.Options{}); rep.Offloaded == 0 {
		t.Errorf("%+v", rep)
	}
}

// TestStripesMeet: between striped volumes of equal geometry the pieces of one
// stripe are neighbours on the leaf, and must become long commands.
func TestStripesMeet(t *testing.T) {
	const stripes, chunk = 4, 16
	limits := nvme.Limits{RangeBlocks: 256, CommandBlocks: 512, Ranges: 128}
	m := fakestack.New(2)
	var src, dst fakestack.Striped
	for range stripes {
		ns := m.AddNamespace(fakestack.Namespace{Sectors: 4096, Limits: limits})
		src.Legs = append(src.Legs, fakestack.Place{Dev: ns, Start: 0})
		dst.Legs = append(dst.Legs, fakestack.Place{Dev: ns, Start: 2048})
	}
	src.Chunk, dst.Chunk = chunk, chunk
	size := remap.Sector(stripes * 2048)
	from := m.AddMapped(fakestack.Segment{Len: size, Target: src})
	to := m.AddMapped(fakestack.Segment{Len: size, Target: dst})
	rep := mustCopy(t, m, from, to, dispatch.Options{})
	perStripe := (int64(size)/stripes + int64(limits.CommandBlocks) - 1) / int64(limits.CommandBlocks)
	// The proofs cut the first commands short: one more a stripe at this size.
	if most := stripes * (perStripe + 1); rep.Commands > most || rep.Offloaded != rep.Total {
		t.Errorf("%d commands, at most %d expected: %+v", rep.Commands, most, rep)
	}
}

// TestSlivers: what does not fit the blocks of a 4Kn leaf goes through the host,
// and no more than that. The volumes are misaligned alike.
func TestSlivers(t *testing.T) {
	m := fakestack.New(3)
	ns := m.AddNamespace(fakestack.Namespace{Sectors: 4096, Block: 4096, Limits: fakestack.Roomy})
	segment := func(n, start remap.Sector) fakestack.Segment {
		return fakestack.Segment{Len: n, Target: fakestack.Linear{Dev: ns, Start: start}}
	}
	// The joints of both tables do not lie at multiples of 8 sectors.
	src := m.AddMapped(segment(123, 3), segment(133, 1003))
	dst := m.AddMapped(segment(61, 2003), segment(195, 3000))
	rep := mustCopy(t, m, src, dst, dispatch.Options{})
	// [0,61): 3 -> 2003, congruent, of which sectors 8..64 of the leaf are blocks.
	// [61,123): 64 -> 3000, whole blocks from the start on, but for 6 sectors.
	// [123,256): 1003 -> 3062, not congruent.
	if want := int64(56+56) * sector; rep.Offloaded != want || reason(rep, plan.ReasonAlignment) != rep.Total-want {
		t.Errorf("%+v", rep)
	}
}

// TestSliversAcrossWindows: a window that begins with a sliver is not cut where
// the next block is not whole.
func TestSliversAcrossWindows(t *testing.T) {
	m := fakestack.New(3)
	ns := m.AddNamespace(fakestack.Namespace{Sectors: 1 << 13, Block: 4096, Limits: fakestack.Roomy})
	src := m.AddMapped(fakestack.Segment{Len: 1024, Target: fakestack.Linear{Dev: ns, Start: 3}})
	dst := m.AddMapped(fakestack.Segment{Len: 1024, Target: fakestack.Linear{Dev: ns, Start: 4003}})
	rep := mustCopy(t, m, src, dst, dispatch.Options{Window: 64 * kib})
	if rep.Offloaded != rep.Total-4096 || rep.Redone != 0 {
		t.Errorf("%+v", rep)
	}
}

// TestIncongruent: blocks that do not meet on both sides cannot be offloaded.
func TestIncongruent(t *testing.T) {
	m := fakestack.New(4)
	ns := m.AddNamespace(fakestack.Namespace{Sectors: 4096, Block: 4096, Limits: fakestack.Roomy})
	src := m.AddMapped(fakestack.Segment{Len: 256, Target: fakestack.Linear{Dev: ns, Start: 1}})
	dst := m.AddMapped(fakestack.Segment{Len: 256, Target: fakestack.Linear{Dev: ns, Start: 2048}})
	if rep := mustCopy(t, m, src, dst, dispatch.Options{}); rep.Offloaded != 0 || reason(rep, plan.ReasonAlignment) != rep.Total {
		t.Errorf("%+v", rep)
	}
}

// TestCommandFails: a command that ends in the middle of its list is done as far
// as it says, and the rest is copied by the host.
func TestCommandFails(t *testing.T) {
	for _, junk := range []bool{false, true} {
		t.Run(fmt.Sprint("junk ", junk), func(t *testing.T) {
			v := newVolumesOn(t, fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 64, CommandBlocks: 512, Ranges: 8}})
			v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
				if n != 3 || c.Opcode != nvme.OpCopy {
					return nvme.Fault{}
				}
				return nvme.Fault{Status: nvme.StatusUnrecoveredRead, At: 5, Junk: junk}
			})
			rep := v.mustCopy(t, dispatch.Options{InFlight: 1}) // so that command 3 is always the same
			if want := int64(3 * 64 * sector); rep.Host != want || rep.Redone != want || rep.Fallbacks != 1 || reason(rep, "device:status-0x281") != want {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestProof: a device that says it has copied and has not is found out by the
// first command, and not used any more.
func TestProof(t *testing.T) {
	v := newVolumes(t)
	v.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault { return nvme.Fault{Silent: true} })
	rep := v.mustCopy(t, dispatch.Options{Window: 512 * kib})
	if rep.Offloaded != 0 || reason(rep, plan.ReasonProofFailed) != rep.Total || rep.Commands != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestProofWhereEqual: where source and destination are alike, at the beginning
// or nearly everywhere, a device that copies nothing is found out nevertheless.
func TestProofWhereEqual(t *testing.T) {
	lie := func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Silent: true} }
	t.Run("in one half", func(t *testing.T) {
		v := newVolumes(t)
		v.Fill(v.dst, 0, v.Content(v.src, 0, volume/2))
		v.loop.SetFault(lie)
		if rep := v.mustCopy(t, dispatch.Options{}); rep.Host < volume.Bytes()/2 {
			t.Errorf("%+v", rep)
		}
	})
	for _, different := range []remap.Sector{0, 1, 300, 511, 1000, volume/2 + 333, volume - 1} {
		t.Run(fmt.Sprint("but for sector ", different), func(t *testing.T) {
			v := newVolumes(t)
			v.Fill(v.dst, 0, v.Content(v.src, 0, volume))
			v.Fill(v.dst, different, make([]byte, sector))
			v.loop.SetFault(lie)
			v.mustCopy(t, dispatch.Options{})
		})
	}
	t.Run("everywhere", func(t *testing.T) {
		v := newVolumes(t)
		v.Fill(v.dst, 0, v.Content(v.src, 0, volume))
		if rep := v.mustCopy(t, dispatch.Options{Window: window}); rep.Offloaded != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
}

// TestReservationConflict: what somebody meant is told, and not worked around.
func TestReservationConflict(t *testing.T) {
	for _, first := range []int{0, 2} {
		t.Run(fmt.Sprint("command ", first), func(t *testing.T) {
			v := newVolumesOn(t, fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 64, CommandBlocks: 512, Ranges: 8}})
			v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
				if n < first {
					return nvme.Fault{}
				}
				return nvme.Fault{Status: nvme.StatusReservationConflict}
			})
			want := v.expect()
			rep, err := v.copy(t, dispatch.Options{})
			if !errors.Is(err, nvme.StatusReservationConflict) || rep.Host != 0 || v.Calls("write") > 0 {
				t.Errorf("%v, %+v", err, rep)
			}
			untouched(t, want)
		})
	}
}

// TestReservationConflictIsBrief: the error of a window of many pieces is one
// that people can read.
func TestReservationConflictIsBrief(t *testing.T) {
	v := newVolumes(t)
	var segments []fakestack.Segment
	for i := range volume / 8 {
		// Neighbours change places, so that no two pieces can be merged.
		segments = append(segments, fakestack.Segment{Len: 8, Target: fakestack.Linear{Dev: v.ns, Start: srcPlace + (i^1)*8}})
	}
	v.Swap(v.src, segments...)
	v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault { return nvme.Fault{Status: nvme.StatusReservationConflict} })
	_, err := v.copy(t, dispatch.Options{})
	if !errors.Is(err, nvme.StatusReservationConflict) {
		t.Fatal(err)
	}
	if lines := strings.Count(err.Error(), "\n"); lines > 20 {
		t.Errorf("an error of %d lines", lines+1)
	}
}

// TestUnsupported: a device that turns out not to copy is not asked again.
func TestUnsupported(t *testing.T) {
	v := newVolumes(t)
	v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
		if c.Opcode != nvme.OpCopy {
			return nvme.Fault{}
		}
		return nvme.Fault{Status: nvme.StatusInvalidOpcode}
	})
	rep := v.mustCopy(t, dispatch.Options{Window: 512 * kib})
	if rep.Commands != 1 || rep.Host != rep.Total {
		t.Errorf("%+v", rep)
	}
}

// TestBadSector: the host reads again what the device could not, and names the
// sector that nobody can read.
func TestBadSector(t *testing.T) {
	v := newVolumes(t)
	const bad = 1000
	want := v.expect()
	v.FailReads(v.ns, srcPlace+bad, unix.EIO)
	rep, err := v.copy(t, dispatch.Options{})
	if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), fmt.Sprint("sector ", bad)) {
		t.Errorf("%v", err)
	}
	if rep == nil || rep.Offloaded+rep.Host < 64*kib {
		t.Errorf("%+v", rep)
	}
	untouched(t, want)
}

// TestBadSectorInProof: an unreadable sector says nothing about the pair.
func TestBadSectorInProof(t *testing.T) {
	v := newVolumes(t)
	want := v.expect()
	v.FailReads(v.ns, srcPlace+1, unix.EIO)
	if _, err := v.copy(t, dispatch.Options{}); !errors.Is(err, unix.EIO) {
		t.Errorf("%v", err)
	}
	untouched(t, want)
}

// ghost loses the n-th command; the device executes it when told to.
func ghost(v *volumes, number int) (execute func()) {
	hold := make(chan struct{})
	v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
		if n != number || c.Opcode != nvme.OpCopy {
			return nvme.Fault{}
		}
		return nvme.Fault{Lost: unix.EINTR, Hold: hold}
	})
	return func() {
		close(hold)
		v.loop.Wait()
	}
}

// TestLostCompletion: what a command of unknown fate may still write is left
// alone by everybody, and the copy fails saying so.
func TestLostCompletion(t *testing.T) {
	for _, number := range []int{0, 1, 3} {
		t.Run(fmt.Sprint("command ", number), func(t *testing.T) {
			v := newVolumesOn(t, fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 64, CommandBlocks: 512, Ranges: 8}})
			execute := ghost(v, number)
			want := v.expect()
			rep, err := v.copy(t, dispatch.Options{InFlight: 1})
			if !errors.Is(err, failure.ErrFenced) || rep.Host > 0 || v.Calls("write")+v.Calls("zero") > 0 {
				t.Errorf("%v, %+v", err, rep)
			}
			if rep.Offloaded > int64(number)*512*sector { // what is under way may never arrive
				t.Errorf("%d bytes counted of %d commands", rep.Offloaded, number)
			}
			execute()
			untouched(t, want)
		})
	}
}

// TestFenceOutlivesCopy: in one process, a second copy to the same place is
// refused as long as the command of the first may be running.
func TestFenceOutlivesCopy(t *testing.T) {
	v := newVolumes(t)
	execute := ghost(v, 0)
	if _, err := v.copy(t, dispatch.Options{}); !errors.Is(err, failure.ErrFenced) {
		t.Fatal(err)
	}
	writes := v.Calls("write")
	if _, err := v.copy(t, dispatch.Options{}); !errors.Is(err, failure.ErrFenced) && !errors.Is(err, blocks.ErrFenced) {
		t.Errorf("the second copy ended with %v", err)
	}
	if v.Calls("write") > writes {
		t.Error("the host wrote over the fence")
	}
	execute()
}

// TestSlowCommand: the hold is extended as long as a command takes that is
// neither lost nor quick.
func TestSlowCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		hold := make(chan struct{})
		v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
			if n != 1 {
				return nvme.Fault{}
			}
			time.AfterFunc(20*time.Second, func() { close(hold) })
			return nvme.Fault{Hold: hold}
		})
		if rep := v.mustCopy(t, dispatch.Options{}); rep.Offloaded != rep.Total || rep.Redone > 0 {
			t.Errorf("%+v", rep)
		}
	})
}

// TestLateCompletion: a command that comes back after it was given up changes
// nothing any more.
func TestLateCompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		hold := make(chan struct{})
		v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
			if n != 1 {
				return nvme.Fault{}
			}
			return nvme.Fault{Hold: hold}
		})
		want := v.expect()
		began := time.Now()
		rep, err := v.copy(t, dispatch.Options{Waits: dispatch.Waits{CommandTimeout: time.Second}})
		if !errors.Is(err, failure.ErrFenced) || rep.Host > 0 || v.Calls("write") > 0 {
			t.Errorf("%v, %+v", err, rep)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("given up after %v", took)
		}
		close(hold)
		synctest.Wait()
		untouched(t, want)
	})
}

// TestRequire: nothing is copied through the host behind the user's back.
func TestRequire(t *testing.T) {
	require := dispatch.Options{Offload: plan.OffloadRequire}
	t.Run("met", func(t *testing.T) {
		if rep := newVolumes(t).mustCopy(t, require); rep.Host > 0 {
			t.Errorf("%+v", rep)
		}
	})
	// Knowable beforehand: not a byte is written.
	for name, v := range map[string]*volumes{
		"no Copy":   newVolumesOn(t, fakestack.Namespace{Limits: fakestack.Roomy, NoCopy: true}),
		"no anchor": newVolumes(t),
	} {
		t.Run(name, func(t *testing.T) {
			v.NoAnchor = name == "no anchor"
			rep, err := v.copy(t, require)
			if !errors.Is(err, failure.ErrPolicy) || rep != nil {
				t.Errorf("%v, %+v", err, rep)
			}
			if v.Calls("write")+v.Calls("zero")+v.Calls("command") > 0 {
				t.Error("something was written")
			}
		})
	}
	t.Run("failing command", func(t *testing.T) {
		v := newVolumes(t)
		v.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
			if n == 1 {
				return nvme.Fault{Status: nvme.StatusUnrecoveredRead}
			}
			return nvme.Fault{}
		})
		if _, err := v.copy(t, require, byterange.Range{}); !errors.Is(err, failure.ErrPolicy) || v.Calls("write") > 0 {
			t.Errorf("%v", err)
		}
	})
}

// TestHoldUnavailable: without a hold everything goes through the host.
func TestHoldUnavailable(t *testing.T) {
	for _, mode := range []struct {
		name   string
		opts   dispatch.Options
		reason remap.Reason
	}{{"no anchor", dispatch.Options{}, plan.ReasonHoldUnavailable}, {"none", dispatch.Options{Hold: "none"}, plan.ReasonHoldUnavailable}} {
		t.Run(mode.name, func(t *testing.T) {
			v := newVolumes(t)
			v.NoAnchor = true
			rep := v.mustCopy(t, mode.opts)
			if reason(rep, mode.reason) != rep.Total || v.Calls("command") > 0 {
				t.Errorf("%d commands, %+v", v.Calls("command"), rep)
			}
		})
	}
	t.Run("trust", func(t *testing.T) {
		v := newVolumes(t)
		v.NoAnchor = true
		if rep := v.mustCopy(t, dispatch.Options{Hold: "trust"}); rep.Offloaded != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
	t.Run("partition", func(t *testing.T) {
		v := newVolumes(t)
		v.NoAnchor = true
		dst := v.AddPartition(v.ns, spare, volume)
		if rep := mustCopy(t, v.Machine, v.src, dst, dispatch.Options{}); rep.Offloaded != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
}
