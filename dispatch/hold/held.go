package hold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// dropped is an anchor in flight. It is extended by a chain: the next link is
// begun and proven while the last one holds. While somebody waits for the
// release, a new link would wait behind him, and the last one has to last.
type dropped struct {
	anchor *Anchor
	chains []Chain
	locks  groupLocks

	until atomic.Int64 // a boottime.Instant: until when it was said to hold

	mu   sync.Mutex // for what is below; the meters of the reads belong to who extends
	link *link
	lost error // why, if it was seen to be
}

// Check implements [Held]: every read of the anchor must still be in flight.
// The helper looks into the completion ring when it is asked, so that an
// anchor that ended before the question cannot pass. It tells of the end of a
// read once; what is lost stays lost.
func (d *dropped) Check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost == nil {
		d.lost = fail("anchor", d.anchor.device.Name(), d.anchor.kept(d.link))
	}
	return d.lost
}

// Deadline implements [Held].
func (d *dropped) Deadline() boottime.Instant { return boottime.Instant(d.until.Load()) }

// promise moves the deadline away, to no more than an expiry from now: what is
// parked is replaced by what lasts for an expiry when it can be.
func (d *dropped) promise() {
	until := min(d.link.deadline(), d.anchor.kernel.now().Add(d.anchor.expiry()))
	d.until.Store(max(d.until.Load(), int64(until)))
}

// lasts tells whether the anchor holds for a period without further action, and
// would then have enough left to be parked.
func (d *dropped) lasts(period time.Duration) bool {
	now := d.anchor.kernel.now()
	return d.link.deadline().Sub(now) > period && !slices.ContainsFunc(d.link.reads, func(r *read) bool {
		return r.rate > minRate && r.withheld(now.Add(expiry/2)) < reserve/2
	})
}

// Extend implements [Held]. It is called about once a second.
func (d *dropped) Extend() error {
	err := d.extend()
	if err == nil {
		d.promise()
	}
	return err
}

func (d *dropped) extend() error {
	whole := d.anchor.expiry()
	if err := d.Check(); err != nil || d.lasts(whole*3/4) {
		return err
	}
	if !d.lasts(whole / 2) {
		d.stretch() // to last as long as it takes to make another one
	}
	next, err := d.another()
	if err != nil {
		d.anchor.log.Debug("no new anchor: the one in flight has to last", "error", err)
		d.stretch()
		return d.Check()
	}
	// The last one was in flight until the next one was: there is no gap.
	err = d.Check()
	if sooner := next.deadline() < d.Deadline(); sooner || err != nil {
		d.anchor.abandon(next)
		return err
	}
	d.mu.Lock()
	last := d.link
	d.link = next
	d.mu.Unlock()
	if err := d.anchor.release(last); err != nil {
		d.anchor.log.Debug("release of the last anchor", "error", err)
	}
	return nil
}

// another makes the next link, unless somebody waits, who would keep it waiting.
func (d *dropped) another() (*link, error) {
	const wait = expiry / 4
	a := d.anchor
	a.bury()
	completed, err := a.passes(context.Background(), d.chains, wait)
	if err != nil {
		return nil, err
	}
	if !completed {
		return nil, fmt.Errorf("somebody waits: %w", ErrContended)
	}
	return a.cast(context.Background(), d.chains, wait)
}

// stretch makes what is left of the reads last.
func (d *dropped) stretch() {
	a := d.anchor
	for _, r := range d.link.reads {
		rate := stretched(r.withheld(a.kernel.now()), a.expiry())
		if rate >= r.rate {
			continue // it lasts longer as it is
		}
		if err := a.set(r, rate); err != nil {
			a.log.Warn("an anchor was not made longer", "error", err)
		}
	}
	d.promise()
}

// Release implements [Held].
func (d *dropped) Release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := fail("anchor", d.anchor.device.Name(), d.anchor.release(d.link))
	return errors.Join(err, d.locks.Close())
}
