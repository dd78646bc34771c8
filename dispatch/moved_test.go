package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// leave moves the destination to the spare place, without what it holds.
func (v *volumes) leave() { v.Leave(v.dst, v.linear(spare)...) }

// holdsSource demands that the destination holds what the source does, also after a crash.
func (v *volumes) holdsSource(t *testing.T) {
	t.Helper()
	for _, when := range []string{"at the end", "after a crash"} {
		if !bytes.Equal(v.Content(v.src, 0, volume), v.Content(v.dst, 0, volume)) {
			t.Errorf("%s the destination does not hold what the source holds", when)
		}
		v.Crash()
	}
}

// TestLeavesWithoutData: whenever the destination is moved without what was copied to it,
// that is copied again, and counted.
func TestLeavesWithoutData(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mover{volumes: newVolumes(t)}
				when(&m.Hooks, moment, func() { m.over = m.Begin(m.dst, m.leave) })
				rep := m.mustCopy(t, dispatch.Options{Window: window})
				<-m.over
				if moment == "after the plan" { // and before the first byte
					return
				}
				if rep.Recopied < window || rep.Moved != rep.Recopied || rep.Offloaded != rep.Total || rep.LayoutChanges != 1 {
					t.Errorf("%+v", rep)
				}
			})
		})
	}
}

// TestLeavesWithData: what is moved with its data is compared, and not copied again.
func TestLeavesWithData(t *testing.T) {
	for _, never := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			opts := dispatch.Options{Window: window}
			if never {
				opts.Offload = plan.OffloadNever
				v.atWrite(4, func() { v.Move(v.dst, v.linear(spare)...) })
			} else {
				when(&v.Hooks, "before the hold", func() { v.Move(v.dst, v.linear(spare)...) })
			}
			if rep := v.mustCopy(t, opts); rep.Recopied != 0 || rep.Moved < window || rep.LayoutChanges != 1 {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// atWrite does something before a write through the host.
func (v *volumes) atWrite(number int, do func()) {
	writes := 0
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op != "write" {
			return
		}
		if writes++; writes == number {
			do()
		}
	}
}

// throughHost copies in 16 windows with one write each.
var throughHost = dispatch.Options{Offload: plan.OffloadNever, Window: window / 2, InFlight: 1}

// TestLeavesTheHost: the same where the host copies, at any write, whatever is asked for.
func TestLeavesTheHost(t *testing.T) {
	for _, verify := range []account.Verify{account.VerifyNone, account.VerifySample, account.VerifyFull} {
		for at := 1; at <= 16; at++ {
			t.Run(fmt.Sprint(verify, at), func(t *testing.T) {
				v := newVolumes(t)
				v.atWrite(at, v.leave)
				opts := throughHost
				opts.Verify, opts.LiveSource = verify, at%2 == 0
				rep := v.mustCopy(t, opts)
				if at > 1 && rep.Recopied == 0 || rep.Host != rep.Total || rep.Verified != verify {
					t.Errorf("%+v", rep)
				}
			})
		}
	}
}

// TestLeavesAtTheEnd: what happens after the last byte was copied, and before the copy
// is said to be one.
func TestLeavesAtTheEnd(t *testing.T) {
	for _, verify := range []account.Verify{account.VerifyNone, account.VerifyFull} {
		for _, op := range []string{"drop", "flush", "read"} {
			t.Run(fmt.Sprint(op, verify), func(t *testing.T) {
				if op == "read" && verify == account.VerifyNone {
					t.SkipNow() // nothing is read
				}
				v := newVolumes(t)
				left, writes := false, 0
				leave := func() {
					if writes >= 16 && !left {
						left = true
						v.leave()
					}
				}
				v.Hooks.Drop = func(_ int, dev remap.Dev) {
					if op == "drop" && dev == v.dst {
						leave()
					}
				}
				reads := 0
				v.Hooks.IO = func(what string, dev remap.Dev, _, _ int64) {
					if what == "write" {
						writes++
					}
					if what == "read" && writes == 16 && dev == v.dst {
						reads++
					}
					if what == op && (op == "flush" || reads == 3) {
						leave()
					}
				}
				opts := throughHost
				opts.Verify = verify
				rep := v.mustCopy(t, opts)
				if !left || rep.Recopied != rep.Total || rep.Verified != verify {
					t.Errorf("%+v", rep)
				}
			})
		}
	}
}

// TestLeavesInPart: where a part of the destination is moved, no more than the windows
// that were written to it are copied again.
func TestLeavesInPart(t *testing.T) {
	v := newVolumes(t)
	table := func(first remap.Sector) []fakestack.Segment {
		return []fakestack.Segment{
			{Len: volume / 4, Target: fakestack.Linear{Dev: v.ns, Start: first}},
			{Len: 3 * volume / 4, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace + volume/4}},
		}
	}
	v.Swap(v.dst, table(dstPlace)...)
	v.atWrite(13, func() { v.Leave(v.dst, table(spare)...) })
	rep := v.mustCopy(t, throughHost)
	if moved := (volume / 4).Bytes(); rep.Moved != moved || rep.Recopied < moved || rep.Recopied > moved+window {
		t.Errorf("%+v", rep)
	}
}

// TestMirrored: a destination that becomes a mirror for a while, and its other leg in the
// end, as pvmove has it, is where it was. Legs that are in sync hold what was copied.
func TestMirrored(t *testing.T) {
	v := newVolumes(t)
	legs := []fakestack.Place{{Dev: v.ns, Start: dstPlace}, {Dev: v.ns, Start: spare}}
	one := v.AddMirror(volume, fakestack.Mirror{Legs: legs, Stale: []bool{false, true}})
	both := v.AddMirror(volume, fakestack.Mirror{Legs: legs})
	through := func(dev remap.Dev) []fakestack.Segment {
		return []fakestack.Segment{{Len: volume, Target: fakestack.Linear{Dev: dev}}}
	}
	writes := 0
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op != "write" {
			return
		}
		switch writes++; writes {
		case 3:
			v.Swap(v.dst, through(one)...)
		case 7:
			v.Fill(both, 0, v.Content(one, 0, volume)) // is synced
			v.Swap(v.dst, through(both)...)
		case 11:
			v.Swap(v.dst, v.linear(spare)...)
		}
	}
	rep, err := v.copy(t, throughHost)
	if err != nil || rep.Recopied != 0 || rep.LayoutChanges != 3 {
		t.Errorf("%+v, %v", rep, err)
	}
	v.holdsSource(t)
}

// TestLeavesAndReturns: a destination that was elsewhere while the host wrote, and is
// back when it is looked for, has not got what was written meanwhile.
func TestLeavesAndReturns(t *testing.T) {
	v := newVolumes(t)
	writes := 0
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op != "write" {
			return
		}
		switch writes++; writes {
		case 1:
			v.Swap(v.dst, v.linear(spare)...)
		case 2:
			v.Swap(v.dst, v.linear(dstPlace)...)
			if v.Wake(v.dst) != 1 {
				t.Error("nobody listens")
			}
		}
	}
	opts := throughHost
	opts.Window = 0
	rep, err := v.copy(t, opts)
	if err != nil || rep.Recopied != rep.Total || rep.Moved != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	v.holdsSource(t)
}

// TestThinRemapped: blocks of a thin destination that are given other places.
func TestThinRemapped(t *testing.T) {
	for _, prime := range []bool{false, true} {
		m, src, dst := thinned(t, 128, 0, 2048)
		volume := m.Below(dst)[0]
		do := func() { m.Remap(volume) }
		if prime {
			m.Hooks.Landed = func(n int, _ *nvme.Command) {
				if n == 1 {
					go do()
				}
			}
		} else {
			writes := 0
			m.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
				if op != "write" {
					return
				}
				if writes++; writes == 3 {
					do()
				}
			}
		}
		rep, err := copyOf(t, m, src, dst, dispatch.Options{Prime: prime, InFlight: 1, Window: window})
		if err != nil || rep.Recopied == 0 {
			t.Errorf("%+v, %v", rep, err)
		}
		if !bytes.Equal(m.Content(src, 0, 2048), m.Content(dst, 0, 2048)) {
			t.Error("wrong bytes")
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestMergedBack: a snapshot that was taken in mid-copy and is merged back leaves the
// destination where it lies, and not as it was copied, if only in the last window.
func TestMergedBack(t *testing.T) {
	for at := 2; at <= 8; at++ {
		v := newVolumes(t)
		cow := v.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: v.ns, Start: spare}})
		lower := v.AddMapped(v.linear(dstPlace)...)
		snap := &fakestack.Snapshot{Origin: fakestack.Place{Dev: lower}, Cow: fakestack.Place{Dev: cow}, Chunk: 8, Room: volume / 8}
		writes := 0
		v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
			if op != "write" {
				return
			}
			switch writes++; writes {
			case at - 1:
				v.Swap(v.dst, fakestack.Segment{Len: volume, Target: fakestack.Origin{Place: fakestack.Place{Dev: lower}, Snapshots: []*fakestack.Snapshot{snap}}})
			case at:
				v.MergeBack(v.dst)
			}
		}
		rep, err := v.copy(t, throughHost)
		if err != nil || rep.Recopied == 0 {
			t.Errorf("at write %d: %+v, %v", at, rep, err)
		}
		v.holdsSource(t)
	}
}

// TestReplaced: another disk below the name of the destination.
func TestReplaced(t *testing.T) {
	v := newVolumes(t)
	disk := v.AddDisk(volume, sector)
	v.dst = v.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: disk}})
	v.atWrite(7, func() { v.Replace(disk) })
	if rep := v.mustCopy(t, throughHost); rep.Recopied == 0 {
		t.Errorf("%+v", rep)
	}
}

// TestFileToMoved: the destination of a file is looked after as well.
func TestFileToMoved(t *testing.T) {
	r := newFileRig(sharing, int(volume.Bytes()), int(volume.Bytes()))
	disk := r.AddDisk(2*volume, sector)
	table := func(start remap.Sector) fakestack.Segment {
		return fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: disk, Start: start}}
	}
	dst := r.AddMapped(table(0))
	writes := 0
	r.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if writes++; op == "write" && writes == 3 {
			r.Leave(dst, table(volume))
		}
	}
	rep, err := dispatch.New(r.Machine).Copy(t.Context(), dispatch.Job{Src: r.src.endpoint(), Dst: r.Endpoint(dst)}, dispatch.Options{Window: window, InFlight: 1})
	if err != nil || rep.Recopied == 0 || !bytes.Equal(r.Content(dst, 0, volume), r.src.data) {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestZeroesAreLost: zeroes that nobody has copied are lost with their place as well.
func TestZeroesAreLost(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		v := newVolumes(t)
		if sparse {
			v.Fill(v.src, 0, make([]byte, volume.Bytes()))
		} else {
			v.Swap(v.src, fakestack.Segment{Len: volume, Target: fakestack.Zero{}})
		}
		zeroes := 0
		v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
			if zeroes++; op == "zero" && zeroes > 4 {
				v.Hooks.IO = nil
				v.leave()
			}
		}
		opts := throughHost
		opts.Sparse = sparse
		if rep := v.mustCopy(t, opts); rep.Recopied == 0 || rep.Zeroed != rep.Total {
			t.Errorf("%+v", rep)
		}
	}
}

// TestBadSectorMoved: what could not be read is listed once, however often it was tried.
func TestBadSectorMoved(t *testing.T) {
	v := newVolumes(t)
	v.FailReads(v.ns, srcPlace+3, unix.EIO)
	v.atWrite(12, v.leave)
	opts := throughHost
	opts.OnError = hostcopy.OnErrorContinue
	rep, err := v.copy(t, opts)
	if !errors.Is(err, failure.ErrUnread) || len(rep.Bad) != 1 || rep.Failed != sector || rep.Recopied == 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	v.FailReads(v.ns, srcPlace+3, nil)
	want := v.Content(v.src, 0, volume)
	clear(want[3*sector:][:sector])
	if !bytes.Equal(want, v.Content(v.dst, 0, volume)) {
		t.Error("wrong bytes")
	}
}

// TestLeavesForGood: a destination that loses again and again what was copied to it ends
// the copy.
func TestLeavesForGood(t *testing.T) {
	v := newVolumes(t)
	places := []remap.Sector{spare, dstPlace}
	writes := 0
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op != "write" {
			return
		}
		if writes++; writes%4 == 0 {
			v.Leave(v.dst, v.linear(places[writes/4%2])...)
		}
	}
	want := v.expect()
	rep, err := v.copy(t, throughHost)
	if !errors.Is(err, failure.ErrLayout) || !strings.Contains(err.Error(), "9 times, the destination was moved") {
		t.Errorf("%+v, %v", rep, err)
	}
	untouched(t, want)
}

// TestMovesOntoSource: a destination that comes to lie where the source does is no copy,
// however equal both are.
func TestMovesOntoSource(t *testing.T) {
	for _, at := range []string{"in the midst", "at the end"} {
		v := newVolumes(t)
		writes, moved := 0, false
		v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
			if op == "write" {
				writes++
			}
			if !moved && (at == "in the midst" && writes == 5 || writes == 16 && op == "flush") {
				moved = true
				v.Swap(v.dst, v.linear(srcPlace)...)
			}
		}
		want := v.Content(v.src, 0, volume)
		rep, err := v.copy(t, throughHost)
		if !moved || err == nil || errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), "after the copy was begun") || !bytes.Equal(want, v.Content(v.src, 0, volume)) {
			t.Errorf("%s: %+v, %v", at, rep, err)
		}
	}
}

// TestStateOfMoved: a state does not say of anything that it is done, unless it lies where
// the destination is, whenever the copy ends.
func TestStateOfMoved(t *testing.T) {
	for at := 3; at <= 9; at++ {
		for _, withData := range []bool{false, true} {
			v := newVolumes(t)
			c := newResumable(t, v)
			c.opts = throughHost
			ctx, cancel := context.WithCancel(context.Background())
			moved := false
			v.atWrite(at, func() {
				moved = true
				if withData {
					v.Move(v.dst, v.linear(spare)...)
				} else {
					v.leave()
				}
			})
			v.Hooks.Stack = func(int) {
				if moved { // it is planned again
					cancel()
				}
			}
			if _, err := c.run(ctx, t); !errors.Is(err, failure.ErrInterrupted) {
				t.Fatal(err)
			}
			cancel()
			v.Hooks = fakestack.Hooks{}
			state, err := journal.Read(c.path)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range state.Map.Extents() {
				from, n := remap.Sector(e.Off/sector), remap.Sector(e.Len/sector)
				if !bytes.Equal(v.Content(v.src, from, n), v.Content(v.dst, from, n)) {
					t.Errorf("write %d: %+v is said to be done", at, e)
				}
			}
			if _, err := c.run(context.Background(), t); err != nil {
				t.Error(err)
			}
			v.holdsSource(t)
		}
	}
}

// TestResumedIsLost: what earlier runs have copied is copied again, and not said to have
// been done by them.
func TestResumedIsLost(t *testing.T) {
	v := newVolumes(t)
	c := newResumable(t, v)
	ctx, cancel := context.WithCancel(context.Background())
	when(&v.Hooks, "after the hold", cancel)
	if _, err := c.run(ctx, t); !errors.Is(err, failure.ErrInterrupted) {
		t.Fatal(err)
	}
	v.Hooks = fakestack.Hooks{}
	v.Hooks.Held = func(n int) {
		if n > 4 {
			v.Hooks.Held = nil
			v.Begin(v.dst, v.leave)
		}
	}
	rep, err := c.run(context.Background(), t)
	if err != nil || rep.Skipped != 0 || rep.Offloaded != rep.Total || rep.Recopied < 2*window {
		t.Errorf("%+v, %v", rep, err)
	}
	v.holdsSource(t)
}

// large is a volume of which what is done is compared in samples.
const large = remap.Sector(40 * mib / sector)

func newLarge(t *testing.T) (v *volumes, table func(remap.Sector) fakestack.Segment) {
	v = &volumes{Machine: fakestack.New(1)}
	v.ns = v.AddDisk(3*large, sector)
	table = func(start remap.Sector) fakestack.Segment {
		return fakestack.Segment{Len: large, Target: fakestack.Linear{Dev: v.ns, Start: start}}
	}
	v.src, v.dst = v.AddMapped(table(0)), v.AddMapped(table(large))
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v, table
}

// TestMovedIsSampled: of what was moved with its data, no more than samples are read.
func TestMovedIsSampled(t *testing.T) {
	v, table := newLarge(t)
	writes, read := 0, int64(0)
	v.Hooks.IO = func(op string, dev remap.Dev, _, n int64) {
		switch {
		case op == "read" && dev == v.dst:
			read += n
		case op == "write":
			if writes++; writes == 39 {
				v.Move(v.dst, table(2*large))
			}
		}
	}
	rep, err := v.copy(t, dispatch.Options{Window: 8 * mib, InFlight: 1})
	if err != nil || rep.Moved < 36*mib || rep.Recopied != 0 || read == 0 || read > 18*mib {
		t.Errorf("%d bytes read, %+v, %v", read, rep, err)
	}
}

// TestLayerTakenAway: what a layer has kept that is gone may have lost a single block, and
// is compared as a whole.
func TestLayerTakenAway(t *testing.T) {
	v, table := newLarge(t)
	lower := v.AddMapped(table(large))
	v.Swap(v.dst, fakestack.Segment{Len: large, Target: fakestack.Origin{Place: fakestack.Place{Dev: lower}}})
	v.atWrite(39, func() {
		v.Swap(v.dst, table(large))
		v.Fill(v.dst, 21*mib/sector+1111, make([]byte, 4*kib))
	})
	rep, err := v.copy(t, dispatch.Options{Window: 8 * mib, InFlight: 1})
	if err != nil || rep.Recopied == 0 || !bytes.Equal(v.Content(v.src, 0, large), v.Content(v.dst, 0, large)) {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestLeavesAfterThaw: once the source moves again, nothing tells what was copied of it.
func TestLeavesAfterThaw(t *testing.T) {
	opts := throughHost
	v, w := frozenVolumes(t, &opts)
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op == "flush" && w.over != nil && !w.frozen {
			v.Hooks.IO = nil
			v.leave()
		}
	}
	if rep, err := v.copy(t, opts); !errors.Is(err, failure.ErrLayout) || v.Hooks.IO != nil {
		t.Errorf("%+v, %v", rep, err)
	}
}
