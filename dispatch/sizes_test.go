package dispatch

import (
	"math"
	"testing"
	"time"
)

// hugeSizes are what overflows where it is rounded, doubled or added to.
var hugeSizes = []int64{1 << 40, 1<<62 - 1, 1 << 62, math.MaxInt64 &^ 511, math.MaxInt64 &^ 4095, math.MaxInt64 - 1<<16, math.MaxInt64}

// TestHugeWindow: a window is never less than one unit, nor more than all that can be
// done in one.
func TestHugeWindow(t *testing.T) {
	for _, size := range hugeSizes {
		most := Options{Window: size}.withDefaults().Window
		if most < firstWindow || most%windowUnit != 0 {
			t.Errorf("a window of %d bytes is one of %d", size, most)
		}
		for _, bytes := range hugeSizes {
			for _, held := range []time.Duration{1, time.Second, math.MaxInt64} {
				if next := resize(most, bytes, 1<<20, held, most); next < minWindow || next > most {
					t.Errorf("after %d bytes in %v, of a window of %d at most, the next one has %d", bytes, held, most, next)
				}
			}
		}
	}
}

// TestHugeRates: a debt that nobody lives to see paid is waited for, and a rate that
// no machine has is none.
func TestHugeRates(t *testing.T) {
	for _, size := range hugeSizes {
		p := pacer{rate: func() int64 { return 1 }}
		p.left(time.Now())
		p.charge(size)
		if left := p.left(time.Now()); left < time.Hour {
			t.Errorf("after %d bytes at one byte a second: %v", size, left)
		}
		p = pacer{rate: func() int64 { return size }}
		if most := p.most(math.MaxInt64); most < windowUnit || most > size || most%windowUnit != 0 {
			t.Errorf("at %d bytes a second: %d at a time", size, most)
		}
		n := newNiceness(&Nice{}, nil)
		n.speed, n.limit = float64(size), float64(size)
		if most := n.most(math.MaxInt64); most < firstWindow {
			t.Errorf("at a speed of %d: %d at a time", size, most)
		}
		if rate := n.rate(Unlimited); rate < size-size/1000 {
			t.Errorf("a limit of %d is a rate of %d", size, rate)
		}
	}
}
