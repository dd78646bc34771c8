package dispatch_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestSourceLeaves: a source that is moved to other data in mid-copy is copied from there,
// all of it.
func TestSourceLeaves(t *testing.T) {
	for _, never := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			opts := dispatch.Options{Window: window}
			leave := func() { v.Leave(v.src, v.linear(spare)...) }
			if never {
				opts.Offload = plan.OffloadNever
				v.atWrite(4, leave)
			} else {
				when(&v.Hooks, "before the hold", leave)
			}
			rep, err := v.copy(t, opts)
			if err != nil || rep.Recopied < window || rep.Moved != rep.Recopied || rep.LayoutChanges != 1 {
				t.Errorf("%+v, %v", rep, err)
			}
			v.holdsSource(t)
		})
	}
}

// TestSourceLeavesAtAnyWrite: the same, whenever it is.
func TestSourceLeavesAtAnyWrite(t *testing.T) {
	for at := 1; at <= 16; at++ {
		v := newVolumes(t)
		v.atWrite(at, func() { v.Leave(v.src, v.linear(spare)...) })
		if rep, err := v.copy(t, throughHost); err != nil || rep.Recopied == 0 {
			t.Errorf("at write %d: %+v, %v", at, rep, err)
		}
		v.holdsSource(t)
	}
}

// TestSourceMovesWithData: what is moved with its data is compared, and not copied again.
func TestSourceMovesWithData(t *testing.T) {
	for _, never := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			opts := dispatch.Options{Window: window}
			move := func() { v.Move(v.src, v.linear(spare)...) }
			if never {
				opts.Offload = plan.OffloadNever
				v.atWrite(4, move)
			} else {
				when(&v.Hooks, "before the hold", move)
			}
			if rep, err := v.copy(t, opts); err != nil || rep.Recopied != 0 || rep.Moved < window || rep.LayoutChanges != 1 {
				t.Errorf("%+v, %v", rep, err)
			}
			v.holdsSource(t)
		})
	}
}

// TestSourceLeavesAndReturns: of a source that was elsewhere while the host read it, and is back
// when it is looked for, what was read meanwhile is copied again.
func TestSourceLeavesAndReturns(t *testing.T) {
	v := newVolumes(t)
	writes := 0
	v.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
		if op != "write" {
			return
		}
		switch writes++; writes {
		case 1:
			v.Swap(v.src, v.linear(spare)...)
		case 2:
			v.Swap(v.src, v.linear(srcPlace)...)
			if v.Wake(v.src) != 1 {
				t.Error("nobody listens")
			}
		}
	}
	opts := throughHost
	opts.Window = 0
	if rep, err := v.copy(t, opts); err != nil || rep.Recopied != rep.Total || rep.Moved != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	v.holdsSource(t)
}

// TestLiveSourceLeaves: of a source that changes anyway nothing has to be shown.
func TestLiveSourceLeaves(t *testing.T) {
	v := newVolumes(t)
	v.atWrite(4, func() { v.Leave(v.src, v.linear(spare)...) })
	opts := throughHost
	opts.LiveSource = true
	if rep, err := v.copy(t, opts); err != nil || rep.Recopied != 0 || rep.Moved != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestSourceOntoDestination: a source that comes to lie where the destination does is no source,
// however equal both are.
func TestSourceOntoDestination(t *testing.T) {
	v := newVolumes(t)
	v.atWrite(12, func() {
		v.Swap(v.src, fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}})
	})
	if rep, err := v.copy(t, throughHost); err == nil || errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), "after the copy was begun") {
		t.Errorf("%+v, %v", rep, err)
	}
}
