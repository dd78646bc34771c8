package hold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// A read that does not come back can wait for somebody who changes the layout,
// or for a slow disk. What a read takes that waits for nobody is measured before
// the first anchor is submitted, and by each probe.

const (
	// latencyFactor is how many times longer than the last one a probe may take.
	latencyFactor = 4
	// maxLatency is what a read may take on a device that is held.
	maxLatency = 3 * time.Second
	// probeStep is how often it is looked whether there still is somebody to
	// wait for.
	probeStep = 100 * time.Millisecond
)

// probing is what is known of how long reads take.
type probing struct {
	latency time.Duration // of the last one; 0 is unknown
	// under way is a read that was not waited for to its end.
	ids    []int
	since  boottime.Instant // when it began
	polled boottime.Instant // when it was last looked at
}

func (p *probing) pending() bool { return len(p.ids) > 0 }

// probeUnlessPending is probe, unless one is under way that has not come back.
func (a *Anchor) probeUnlessPending(ctx context.Context, chains []Chain, wait time.Duration) (bool, error) {
	if a.probing.pending() {
		if err := a.pollProbe(0); err != nil || a.probing.pending() {
			return false, err
		}
	}
	return a.probe(ctx, chains, max(wait, latencyFactor*a.probing.latency))
}

// probe reads what the chains begin with, from outside of the groups, and tells
// whether that comes back in time.
func (a *Anchor) probe(ctx context.Context, chains []Chain, wait time.Duration) (bool, error) {
	if err := a.startProbe(chains); err != nil {
		return false, err
	}
	until := a.kernel.now().Add(wait)
	for a.probing.pending() && ctx.Err() == nil {
		left := until.Sub(a.kernel.now())
		if err := a.pollProbe(min(max(left, 0), probeStep)); err != nil {
			return false, err
		}
		if left <= 0 {
			break
		}
	}
	return !a.probing.pending(), nil
}

func (a *Anchor) startProbe(chains []Chain) error {
	now := a.kernel.now()
	ids, err := a.kernel.probe(spansOf(chains))
	p := &a.probing
	p.ids, p.since, p.polled = ids, now, now
	return err
}

// pollProbe waits for the probe up to a while. If it comes back, it is known
// how long one takes, unless nobody has looked for it meanwhile.
func (a *Anchor) pollProbe(wait time.Duration) error {
	p := &a.probing
	done, err := a.kernel.probed(p.ids, wait)
	if err != nil {
		return err
	}
	now := a.kernel.now()
	p.forget(done)
	switch unseen := now.Sub(p.polled) - wait; {
	case p.pending():
	case unseen > probeStep:
		p.latency = 0
	default:
		p.latency = max(now.Sub(p.since), 1)
	}
	p.polled = now
	return nil
}

// forget forgets reads that have ended.
func (p *probing) forget(done []outcome) {
	ended := make(map[int]bool)
	for _, o := range done {
		ended[o.ID] = true
	}
	var left []int
	for _, id := range p.ids {
		if !ended[id] {
			left = append(left, id)
		}
	}
	p.ids = left
}

// measureLatency waits until no probe is under way and it is known what a read takes.
func (a *Anchor) measureLatency(ctx context.Context, chains []Chain, wait time.Duration) error {
	p := &a.probing
	wasSlow := p.latency > maxLatency
	if !p.pending() && (wasSlow || p.latency == 0) {
		if err := a.startProbe(chains); err != nil {
			return fmt.Errorf("probe: %w", errors.Join(err, ErrUnavailable))
		}
	}
	for began := a.kernel.now(); p.pending(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.pollProbe(probeStep); err != nil {
			return fmt.Errorf("probe: %w", errors.Join(err, ErrUnavailable))
		}
		waited := a.kernel.now().Sub(began)
		switch {
		case !p.pending():
		case wasSlow:
			return tooSlow(p.latency)
		case waited >= wait && a.anySuspended(chains), waited >= maxLatency:
			return fmt.Errorf("a read does not come back: %w", ErrContended)
		}
	}
	if p.latency > maxLatency {
		return tooSlow(p.latency)
	}
	if p.latency == 0 {
		return a.measureLatency(ctx, chains, wait)
	}
	return nil
}

func tooSlow(latency time.Duration) error {
	return fmt.Errorf("a read takes %v, and more than %v is not waited for: %w", latency.Round(time.Millisecond), maxLatency, ErrSlow)
}

// anySuspended tells whether a device of the chains is suspended.
func (a *Anchor) anySuspended(chains []Chain) bool {
	for _, c := range chains {
		for _, node := range c.Nodes {
			if is, err := a.kernel.suspended(node); is || err != nil {
				return true
			}
		}
	}
	return false
}
