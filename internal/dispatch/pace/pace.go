// Package pace keeps a copy to a rate, and has it give way to others who use its disks.
package pace

import (
	"context"
	"log/slog"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// Pace is how fast a copy goes.
type Pace struct {
	pacer pacer
	nice  niceness
}

// New keeps to a rate in bytes a second, which may be another one each time, and gives way to
// others if n is not nil.
func New(rate func() int64, n *Nice, counts *account.Account, log *slog.Logger) *Pace {
	p := &Pace{nice: newNiceness(n, counts, log)}
	p.pacer.rate = func() int64 { return p.nice.rate(rate()) }
	return p
}

// Watch has the disks of a layout watched. There is no layout of files.
func (p *Pace) Watch(stack *remap.Stack, ends ...remap.Dev) { p.nice.watch(stack, ends...) }

// Most is how much may be moved at once, in whole units, and limit at most.
func (p *Pace) Most(limit int64) int64 { return p.pacer.most(p.nice.most(limit)) }

// Do moves something when it may. What it returns was moved. Meanwhile idle is called every
// now and then. No hold is on.
func (p *Pace) Do(ctx context.Context, idle func() error, move func() (int64, error)) error {
	if err := p.pacer.wait(ctx, idle); err != nil {
		return err
	}
	if err := p.nice.measureIdle(ctx); err != nil {
		return err
	}
	bytes, err := p.nice.moveMeasured(move)
	p.pacer.charge(bytes)
	return err
}

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
			return failure.Interrupted(ctx)
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
	return max(time.Duration(window.Truncate(p.debt/float64(rate)*float64(time.Second))), time.Microsecond)
}

// charge notes that bytes were moved.
func (p *pacer) charge(bytes int64) { p.debt += float64(bytes) }

// most is how much may be moved at once, in whole units, and limit at most.
func (p *pacer) most(limit int64) int64 {
	rate := p.rate()
	if rate < 0 {
		return limit
	}
	slice := window.Truncate(float64(rate) * paceSlice.Seconds())
	return min(limit, max(slice-slice%window.Unit, window.Unit))
}
