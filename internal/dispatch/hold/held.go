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

// anchorHold is a hold by reads in flight. It is extended by renewal: the next reads are
// submitted and proven while the last ones hold. While somebody waits for the
// release, new reads would wait behind him, and the last ones have to last.
type anchorHold struct {
	anchor *Anchor
	chains []Chain
	locks  groupLocks

	until atomic.Int64 // a boottime.Instant: until when it was said to hold

	mu      sync.Mutex // for what is below; the meters of the reads belong to who extends
	current *readSet
	lost    error // why, if it was seen to be
}

// Check implements [Held]: every read of the anchor must still be in flight.
// The helper looks into the completion ring when it is asked, so that an
// anchor that ended before the question cannot pass. It tells of the end of a
// read once; what is lost stays lost.
func (h *anchorHold) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil {
		h.lost = fail("anchor", h.anchor.device.Name(), h.anchor.checkInFlight(h.current))
	}
	return h.lost
}

// Deadline implements [Held].
func (h *anchorHold) Deadline() boottime.Instant { return boottime.Instant(h.until.Load()) }

// updateDeadline moves the deadline away, to no more than an expiry from now: what was
// slowed down is replaced by what lasts for an expiry when it can be.
func (h *anchorHold) updateDeadline() {
	until := min(h.current.deadline(), h.anchor.kernel.now().Add(h.anchor.expiry()))
	h.until.Store(max(h.until.Load(), int64(until)))
}

// lastsFor tells whether the anchor holds for a period without further action, and
// would then have enough left to last for minutes.
func (h *anchorHold) lastsFor(period time.Duration) bool {
	now := h.anchor.kernel.now()
	return h.current.deadline().Sub(now) > period && !slices.ContainsFunc(h.current.reads, func(r *anchorRead) bool {
		return r.rate > minRate && r.withheld(now.Add(expiry/2)) < reserve/2
	})
}

// Extend implements [Held]. It is called about once a second.
func (h *anchorHold) Extend() error {
	err := h.extend()
	if err == nil {
		h.updateDeadline()
	}
	return err
}

func (h *anchorHold) extend() error {
	whole := h.anchor.expiry()
	if err := h.Check(); err != nil || h.lastsFor(whole*3/4) && !h.lastsFor(whole*3/2) {
		return err // neither short nor slowed down
	}
	if !h.lastsFor(whole / 2) {
		h.slowDown() // to last as long as it takes to make another one
	}
	next, err := h.renew()
	if err != nil {
		h.anchor.log.Debug("no new anchor: the one in flight has to last", "error", err)
		h.slowDown()
		return h.Check()
	}
	// The last one was in flight until the next one was: there is no gap.
	err = h.Check()
	if sooner := next.deadline() < h.Deadline(); sooner || err != nil {
		h.anchor.abandon(next)
		return err
	}
	h.mu.Lock()
	last := h.current
	h.current = next
	h.mu.Unlock()
	if err := h.anchor.release(last); err != nil {
		h.anchor.log.Debug("release of the last anchor", "error", err)
	}
	return nil
}

// renew makes the next reads, unless somebody waits, who would keep them waiting.
func (h *anchorHold) renew() (*readSet, error) {
	const wait = expiry / 4
	a := h.anchor
	a.removeEnded()
	completed, err := a.probeUnlessPending(context.Background(), h.chains, wait)
	if err != nil {
		return nil, err
	}
	if !completed {
		return nil, fmt.Errorf("somebody waits: %w", ErrContended)
	}
	return a.submitProven(context.Background(), h.chains, wait)
}

// slowDown makes what is left of the reads last, at a lower rate.
func (h *anchorHold) slowDown() {
	a := h.anchor
	for _, r := range h.current.reads {
		rate := slowedRate(r.withheld(a.kernel.now()), a.expiry())
		if rate >= r.rate {
			continue // it lasts longer as it is
		}
		if err := a.setRate(r, rate); err != nil {
			a.log.Warn("an anchor was not made longer", "error", err)
		}
	}
	h.updateDeadline()
}

// Release implements [Held].
func (h *anchorHold) Release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := fail("anchor", h.anchor.device.Name(), h.anchor.release(h.current))
	return errors.Join(err, h.locks.Close())
}
