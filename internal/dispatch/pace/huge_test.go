package pace

import (
	"math"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
)

// hugeSizes are what overflows where it is rounded, doubled or added to.
var hugeSizes = []int64{1 << 40, 1<<62 - 1, 1 << 62, math.MaxInt64 &^ 511, math.MaxInt64 &^ 4095, math.MaxInt64 - 1<<16, math.MaxInt64}

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
		if most := p.most(math.MaxInt64); most < window.Unit || most > size || most%window.Unit != 0 {
			t.Errorf("at %d bytes a second: %d at a time", size, most)
		}
		n := newNiceness(&Nice{}, account.New(func(account.Progress) {}), nil)
		n.speed, n.limit = float64(size), float64(size)
		if most := n.most(math.MaxInt64); most < window.InitialSize {
			t.Errorf("at a speed of %d: %d at a time", size, most)
		}
		if rate := n.rate(Unlimited); rate < size-size/1000 {
			t.Errorf("a limit of %d is a rate of %d", size, rate)
		}
	}
}
