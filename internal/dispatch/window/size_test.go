package window

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
		most := Fit(size)
		if most < InitialSize || most%Unit != 0 {
			t.Errorf("a window of %d bytes is one of %d", size, most)
		}
		for _, bytes := range hugeSizes {
			for _, held := range []time.Duration{1, time.Second, math.MaxInt64} {
				if next := Resize(most, bytes, 1<<20, held, most); next < MinSize || next > most {
					t.Errorf("after %d bytes in %v, of a window of %d at most, the next one has %d", bytes, held, most, next)
				}
			}
		}
	}
}
