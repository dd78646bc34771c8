package dispatch_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestSharedBlocks: two volumes that share blocks, wherever, are not copied to
// one another, by no policy, and not a byte is written.
func TestSharedBlocks(t *testing.T) {
	const n = 2048
	linear := func(dev remap.Dev, start remap.Sector) fakestack.Segment {
		return fakestack.Segment{Len: n, Target: fakestack.Linear{Dev: dev, Start: start}}
	}
	tests := map[string]func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev){
		"the same volume": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			return m.AddMapped(linear(ns, 100)), m.AddMapped(linear(ns, 100))
		},
		"a sector": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			return m.AddMapped(linear(ns, 0)), m.AddMapped(linear(ns, n-1))
		},
		"the destination first": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			return m.AddMapped(linear(ns, n-1)), m.AddMapped(linear(ns, 0))
		},
		"a partition and its disk": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			return m.AddPartition(ns, 4096, n), m.AddMapped(linear(ns, 5000))
		},
		"a stripe": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			striped := fakestack.Striped{Chunk: 8, Legs: []fakestack.Place{{Dev: ns, Start: 0}, {Dev: ns, Start: 4000}}}
			return m.AddMapped(fakestack.Segment{Len: n, Target: striped}), m.AddMapped(linear(ns, 5023))
		},
		"the second leg of the source": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			mirror := fakestack.Mirror{Legs: []fakestack.Place{{Dev: ns, Start: 0}, {Dev: ns, Start: 4000}}}
			return m.AddMirror(n, mirror), m.AddMapped(linear(ns, 4100))
		},
		"a leg of the destination": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			mirror := fakestack.Mirror{Legs: []fakestack.Place{{Dev: ns, Start: 0}, {Dev: ns, Start: 4000}}}
			return m.AddMapped(linear(ns, 4100)), m.AddMirror(n, mirror)
		},
		"a source that is made of the destination": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			dst = m.AddMapped(linear(ns, 0))
			return m.AddMapped(fakestack.Segment{Len: n, Target: fakestack.Scramble{Place: fakestack.Place{Dev: dst}, Len: n}}), dst
		},
		"a destination that is made of the source": func(m *fakestack.Machine, ns remap.Dev) (src, dst remap.Dev) {
			src = m.AddMapped(linear(ns, 0))
			return src, m.AddMapped(fakestack.Segment{Len: n, Target: fakestack.Scramble{Place: fakestack.Place{Dev: src}, Len: n}})
		},
	}
	for name, build := range tests {
		for _, policy := range []plan.Policy{plan.OffloadAuto, plan.OffloadNever} {
			t.Run(name+" "+string(policy), func(t *testing.T) {
				m := fakestack.New(5)
				src, dst := build(m, m.AddNamespace(fakestack.Namespace{Sectors: 1 << 14, Limits: fakestack.Roomy}))
				rep, err := copyOf(t, m, src, dst, dispatch.Options{Offload: policy})
				if !errors.Is(err, failure.ErrRefused) || rep != nil {
					t.Errorf("%v, %+v", err, rep)
				}
				if m.Calls("write")+m.Calls("zero")+m.Calls("command") > 0 {
					t.Error("something was written")
				}
			})
		}
	}
}

// TestNeighbours: volumes that touch, or lie in one another's gaps, share
// nothing.
func TestNeighbours(t *testing.T) {
	m := fakestack.New(6)
	ns := m.AddNamespace(fakestack.Namespace{Sectors: 1 << 13, Limits: fakestack.Roomy})
	var even, odd []fakestack.Segment
	for i := range remap.Sector(64) {
		even = append(even, fakestack.Segment{Len: 16, Target: fakestack.Linear{Dev: ns, Start: i * 32}})
		odd = append(odd, fakestack.Segment{Len: 16, Target: fakestack.Linear{Dev: ns, Start: i*32 + 16}})
	}
	rep := mustCopy(t, m, m.AddMapped(even...), m.AddMapped(odd...), dispatch.Options{})
	if rep.Offloaded != rep.Total {
		t.Errorf("%+v", rep)
	}
}

// TestSameDevice: ranges of one device are copied to other ranges of it.
func TestSameDevice(t *testing.T) {
	v := newVolumes(t)
	half := volume.Bytes() / 2
	rep := mustCopy(t, v.Machine, v.src, v.src, dispatch.Options{}, byterange.Range{Src: 0, Dst: half, Len: half})
	if rep.Offloaded != rep.Total {
		t.Errorf("%+v", rep)
	}
	for _, policy := range []plan.Policy{plan.OffloadAuto, plan.OffloadNever} {
		if rep, err := copyOf(t, v.Machine, v.src, v.src, dispatch.Options{Offload: policy}, byterange.Range{Dst: half - sector, Len: half}); err == nil || rep != nil {
			t.Errorf("%v, %+v", err, rep)
		}
	}
}

// TestDuplicates: what two ranges write is refused, read twice it may be.
func TestDuplicates(t *testing.T) {
	v := newVolumes(t)
	some := byterange.Range{Src: 0, Dst: 0, Len: 64 * kib}
	if rep, err := v.copy(t, dispatch.Options{}, some, some); !errors.Is(err, failure.ErrUsage) || rep != nil {
		t.Errorf("%v, %+v", err, rep)
	}
	again := some
	again.Dst = some.Len
	v.mustCopy(t, dispatch.Options{}, some, again)
}

// TestTwiceBelow: a destination that shows the same blocks twice cannot hold two
// different things there.
func TestTwiceBelow(t *testing.T) {
	v := newVolumes(t)
	half := fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}}
	dst := v.AddMapped(half, half)
	for _, policy := range []plan.Policy{plan.OffloadAuto, plan.OffloadNever} {
		rep, err := copyOf(t, v.Machine, v.src, dst, dispatch.Options{Offload: policy})
		if err == nil {
			t.Errorf("policy %s: %+v", policy, rep)
		}
	}
}

// TestRandomOverlap: a copy is refused exactly when a sector is both read and
// written.
func TestRandomOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fakestack.New(7)
		ns := m.AddNamespace(fakestack.Namespace{Sectors: 1024, Limits: fakestack.Roomy})
		table := func(name string) (segments []fakestack.Segment) {
			used := make(map[remap.Sector]bool)
			for range 3 {
				start := remap.Sector(rapid.IntRange(0, 63).Draw(t, name))
				if !used[start] {
					segments = append(segments, fakestack.Segment{Len: 8, Target: fakestack.Linear{Dev: ns, Start: start * 8}})
					used[start] = true
				}
			}
			return segments
		}
		src, dst := m.AddMapped(table("source")...), m.AddMapped(table("destination")...)
		size := min(m.Endpoint(src).Device.Size(), m.Endpoint(dst).Device.Size())
		read := make(map[fakestack.Place]bool)
		for s := range remap.Sector(size / sector) {
			place, _ := m.Direct(src, s, false)
			read[place] = true
		}
		shared := false
		for s := range remap.Sector(size / sector) {
			place, _ := m.Direct(dst, s, true)
			shared = shared || read[place]
		}
		want := m.Expect(src, dst, byterange.Range{Len: size})
		_, err := copyOf(t, m, src, dst, dispatch.Options{}, byterange.Range{Len: size})
		if errors.Is(err, failure.ErrRefused) != shared || !shared && err != nil {
			t.Fatalf("shared: %v, but %v", shared, err)
		}
		if !shared {
			copied(t, want)
		}
	})
}

// TestZeroSource: what reads as zeroes is zeroed, not read.
func TestZeroSource(t *testing.T) {
	v := newVolumes(t)
	v.Swap(v.src, fakestack.Segment{Len: volume / 2, Target: fakestack.Zero{}},
		fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: srcPlace}})
	rep := v.mustCopy(t, dispatch.Options{})
	if half := volume.Bytes() / 2; rep.Zeroed != half || rep.Offloaded != half || v.Calls("read") > 8 || reason(rep, plan.ReasonZeroSource) != half {
		t.Errorf("%d reads, %+v", v.Calls("read"), rep)
	}
}

// TestRefusedDestinations: what keeps no data cannot be copied to.
func TestRefusedDestinations(t *testing.T) {
	for name, target := range map[string]fakestack.Target{"zero": fakestack.Zero{}, "error": fakestack.Error{}} {
		for _, policy := range []plan.Policy{plan.OffloadAuto, plan.OffloadNever} {
			t.Run(name+" "+string(policy), func(t *testing.T) {
				v := newVolumes(t)
				v.Swap(v.dst, fakestack.Segment{Len: volume - 8, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}}, fakestack.Segment{Len: 8, Target: target})
				rep, err := v.copy(t, dispatch.Options{Offload: policy})
				if !errors.Is(err, failure.ErrRefused) || rep != nil || v.Calls("write")+v.Calls("command") > 0 {
					t.Errorf("%v, %+v", err, rep)
				}
				// The part before may be copied.
				v.mustCopy(t, dispatch.Options{Offload: policy}, byterange.Range{Len: volume.Bytes() - 4096})
			})
		}
	}
}

// TestErrorSource: a source that fails is a failure, with what is left copied.
func TestErrorSource(t *testing.T) {
	v := newVolumes(t)
	v.Swap(v.src, fakestack.Segment{Len: volume - 8, Target: fakestack.Linear{Dev: v.ns, Start: srcPlace}}, fakestack.Segment{Len: 8, Target: fakestack.Error{}})
	rep, err := v.copy(t, dispatch.Options{})
	if err == nil || rep.Offloaded != volume.Bytes()-4096 || rep.Host != 0 {
		t.Errorf("%v, %+v", err, rep)
	}
}
