package dispatch

import (
	"testing"
	"testing/synctest"
)

// noise is a Watch that always has news.
type noise struct{ Deaf }

func (noise) Woken() <-chan struct{} {
	woken := make(chan struct{})
	close(woken)
	return woken
}

// TestZonesAreNotCut: what was not begun of a zone cannot be written after what
// follows it.
func TestZonesAreNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := zonedRun(t, newDisk("src", 0), newDisk("dst", testZone), Range{0, 0, testZone})
		r.watch, r.plan = noise{}, &plan{}
		for _, zoner := range []Zoner{r.zones.zoner, nil} {
			r.zones.zoner = zoner
			stop := r.watchLayout(t.Context(), func(error) { t.Error("cut") })
			synctest.Wait()
			stop()
			if looked := r.stats.looks > 0; looked != (zoner == nil) {
				t.Errorf("looked %d times", r.stats.looks)
			}
		}
	})
}

// TestRangesOf: neighbours on both sides are one range.
func TestRangesOf(t *testing.T) {
	got := rangesOf([]Step{
		{SrcOff: 0, DstOff: 512, Len: 512}, {SrcOff: 512, DstOff: 1024, Len: 512},
		{SrcOff: 2048, DstOff: 1536, Len: 512}, {SrcOff: 2560, DstOff: 4096, Len: 512},
	})
	want := []Range{{0, 512, 1024}, {2048, 1536, 512}, {2560, 4096, 512}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%v", got)
	}
	if length(got) != 2048 {
		t.Errorf("%d bytes", length(got))
	}
}
