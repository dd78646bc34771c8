package remap_test

import (
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// TestLegSlab: nobody gets what somebody else has, however many ask, and what is appended beyond the
// room that was asked for goes elsewhere.
func TestLegSlab(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s remap.LegSlab
		sizes := rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 40).Draw(t, "sizes")
		const askers = 4
		var wait sync.WaitGroup
		taken := make([][][]remap.Leg, askers)
		for i := range askers {
			wait.Go(func() {
				for k, n := range sizes {
					got := s.Take(n)
					if len(got) != 0 || cap(got) != n {
						t.Errorf("%d of %d legs, wanted room for %d", len(got), cap(got), n)
					}
					for range n + 1 { // the last one is elsewhere
						got = append(got, remap.Leg{Start: remap.Sector(i*len(sizes) + k)})
					}
					taken[i] = append(taken[i], got)
				}
			})
		}
		wait.Wait()
		for i := range taken {
			for k, legs := range taken[i] {
				for _, leg := range legs {
					if leg.Start != remap.Sector(i*len(sizes)+k) {
						t.Fatalf("what was taken by %d holds what %d put", i*len(sizes)+k, leg.Start)
					}
				}
			}
		}
	})
}

// TestLegSlabAllocates: a thousand small slices are few allocations.
func TestLegSlabAllocates(t *testing.T) {
	var s remap.LegSlab
	if n := testing.AllocsPerRun(10, func() {
		for range 1000 {
			_ = s.Take(2)
		}
	}); n > 20 {
		t.Errorf("%v allocations", n)
	}
}
