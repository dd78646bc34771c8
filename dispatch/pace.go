package dispatch

import (
	"context"
	"math"
	"time"
)

// Unlimited is a rate that is no limit; a rate of 0 is a pause.
const Unlimited int64 = -1

const (
	// paceTick is how often a rate is looked at while it is waited for.
	paceTick = 100 * time.Millisecond
	// paceSlice is how much is moved at once, as time at the given rate.
	paceSlice = 500 * time.Millisecond
)

// pacer keeps what is moved to a rate that may change at any time. It is a token
// bucket that holds no tokens: what was moved has to be waited for before more
// is, and a pause is not made up for.
type pacer struct {
	rate func() int64 // bytes a second
	debt float64      // bytes that were moved and not waited for
	last time.Time    // when the debt was reckoned
}

// wait returns when there is no debt any more. Meanwhile idle is called every now
// and then. No hold is on.
func (p *pacer) wait(ctx context.Context, idle func() error) error {
	for {
		left := p.left(time.Now())
		if left <= 0 {
			return nil
		}
		if err := idle(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return interrupted(ctx)
		case <-time.After(min(left, paceTick)):
		}
	}
}

// left is how long there is to be waited.
func (p *pacer) left(now time.Time) time.Duration {
	rate := p.rate()
	if rate < 0 {
		p.debt = 0
	} else if !p.last.IsZero() {
		p.debt = max(p.debt-float64(rate)*now.Sub(p.last).Seconds(), 0)
	}
	p.last = now
	switch {
	case rate == 0:
		return paceTick
	case p.debt == 0:
		return 0
	}
	return max(time.Duration(whole(p.debt/float64(rate)*float64(time.Second))), time.Microsecond)
}

// whole is a number without its fraction, or the largest that there is: what a
// conversion of Go makes of a larger one is not defined.
func whole(f float64) int64 {
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(f)
}

// charge notes that bytes were moved.
func (p *pacer) charge(bytes int64) { p.debt += float64(bytes) }

// most is how much may be moved at once, in whole units, and limit at most.
func (p *pacer) most(limit int64) int64 {
	rate := p.rate()
	if rate < 0 {
		return limit
	}
	slice := whole(float64(rate) * paceSlice.Seconds())
	return min(limit, max(slice-slice%windowUnit, windowUnit))
}

// most is how much goes into the next window.
func (r *run) most() int64 {
	limit := r.opts.Window
	if r.opts.Journal != nil {
		limit = min(limit, r.ledger.most)
	}
	return r.pace.most(r.nice.most(limit))
}

// paced moves something when it may. What it returns was moved.
func (r *run) paced(ctx context.Context, move func() (int64, error)) error {
	if err := r.pace.wait(ctx, func() error { return r.checkpoint(ctx) }); err != nil {
		return err
	}
	if err := r.nice.listen(ctx); err != nil {
		return err
	}
	bytes, err := r.nice.accompany(move)
	r.pace.charge(bytes)
	return err
}
