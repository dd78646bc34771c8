package hold

import (
	"time"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// The throttle lets a read go when as many bytes as it has are let through, at
// the rate of its limit; when the limit changes, what was let through counts
// (block/blk-throttle.c, tg_update_carryover). A meter keeps that account, so
// that what it says is withheld is never more than what is.

const (
	// tick is the longest that the throttle's clock, jiffies, takes for one
	// step (CONFIG_HZ=100): an interval can have one step more than it is long.
	tick = 10 * time.Millisecond
	// slack is how much sooner than by this account a read can go: what has
	// begun of a slice, a tenth of a second, counts as a whole one
	// (tg_within_bps_limit). It is twice that.
	slack = 200 * time.Millisecond
	// minRate is the lowest limit that all kernels take, in bytes per second
	// (tg_set_limit).
	minRate = 2
	// longHold is how long a read is withheld that has to last although a new one
	// cannot be made; longer than any command is waited for.
	longHold = 5 * time.Minute
	// reserve is what a read needs for a longHold, in bytes. It is not spent on
	// shorter periods.
	reserve = 2 * minRate * int64(longHold/time.Second)
)

// meter is the account of one read.
type meter struct {
	left  int64            // bytes withheld at least at the time below
	rate  int64            // bytes per second
	since boottime.Instant // before the rate was set
}

// withheld is what is withheld at least at the moment now, in bytes.
func (m *meter) withheld(now boottime.Instant) int64 {
	passed := (int64(now.Sub(m.since)+tick)*m.rate + int64(time.Second) - 1) / int64(time.Second)
	return max(m.left-passed, 0)
}

// deadline is the moment until which the read is withheld at least.
func (m *meter) deadline() boottime.Instant {
	return m.since.Add(time.Duration(m.left*int64(time.Second)/m.rate) - slack)
}

// rateFor is the rate at which left bytes last for a period.
func rateFor(left int64, period time.Duration) int64 {
	return max(left*int64(time.Second)/int64(period+slack+tick), minRate)
}

// slowedRate is the rate at which what is left of a read lasts for a period, or,
// where little is left, as long as it can.
func slowedRate(left int64, period time.Duration) int64 {
	if left <= reserve {
		period = longHold
	}
	return rateFor(left, period)
}
