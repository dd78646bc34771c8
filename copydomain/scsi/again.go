package scsi

import (
	"context"
	"errors"
	"slices"
)

// Bounds of trying again.
const (
	// maxTries bounds the rounds in a row in which no command succeeds for
	// another reason than its size.
	maxTries = 4
	// maxShrinks bounds the rounds of one batch in which the limits are
	// halved. Halving needs at most 24.
	maxShrinks = 30
)

// prepare does what the answers of a round ask for before its commands, made to
// used, are sent again.
func (b *batch) prepare(ctx context.Context, used Limits) {
	b.result.Again++
	wanted := func(a Action) int {
		return slices.IndexFunc(b.why, func(o Outcome) bool { return o.Action == a })
	}
	if i := wanted(ActionShrink); i >= 0 {
		if b.result.Again > maxShrinks || !b.shrink(used) {
			b.giveUp(b.why[i], ActionNotSupported)
		}
	} else if b.tries++; b.tries > maxTries {
		b.giveUp(b.why[0], ActionBackOff)
	}
	if wanted(ActionRecheck) >= 0 && b.cause == nil {
		b.recheck(ctx)
	}
	if wanted(ActionRetry) >= 0 && b.cause == nil && pause(ctx, max(b.tries, 1)) != nil {
		b.stop(canceled(ctx.Err()))
	}
}

// giveUp stops the batch for what would be tried again.
func (b *batch) giveUp(o Outcome, a Action) {
	o.Action = a
	b.stop(o)
}

// shrink halves the limits, unless another batch has changed them meanwhile, and
// says whether there is something left to try.
func (c *Copier) shrink(used Limits) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limits != used {
		return true
	}
	smaller, ok := c.limits.half()
	c.limits = smaller
	return ok
}

// recheck makes sure that the logical units are the ones that were probed, and
// stops the batch if they are not.
func (b *batch) recheck(ctx context.Context) {
	devices := []*Device{b.dst}
	if b.src != b.dst {
		devices = append(devices, b.src)
	}
	for _, d := range devices {
		if err := d.Same(ctx); err != nil {
			b.stop(judgeIdentity(ctx, err))
		}
	}
}

// judgeIdentity says what to make of a unit that is not the one that was probed,
// or does not say so.
func judgeIdentity(ctx context.Context, err error) Outcome {
	var a Answer
	switch {
	case ctx.Err() != nil:
		return canceled(ctx.Err())
	case errors.Is(err, ErrChanged), errors.Is(err, ErrInvalid), errors.Is(err, ErrShort):
		return Outcome{Action: ActionReresolve, Reason: "device:changed", Err: err}
	case errors.As(err, &a) && a.Status == ReservationConflict:
		return Outcome{Action: ActionSurface, Reason: a.slug(), Err: err}
	}
	return Outcome{Action: ActionBackOff, Reason: "device:identify", Err: err}
}
