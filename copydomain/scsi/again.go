package scsi

import (
	"context"
	"errors"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
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

// retries counts how often a batch was tried again.
type retries struct {
	rounds int // that asked for something again
	tries  int // rounds since a command succeeded
}

// prepare does what the answers ask for before their blocks are sent again. Before
// the first command of a batch there are none, and the units are looked at. shrink
// makes smaller commands, and says whether there are any.
func (r *retries) prepare(ctx context.Context, again []blocks.Outcome, shrink func() bool, src, dst *Device) blocks.Outcome {
	if len(again) == 0 {
		return recheck(ctx, src, dst)
	}
	r.rounds++
	wanted := func(a blocks.Action) int {
		return slices.IndexFunc(again, func(o blocks.Outcome) bool { return o.Action == a })
	}
	if i := wanted(blocks.ActionShrink); i >= 0 {
		if r.rounds > maxShrinks || !shrink() {
			return as(blocks.ActionNotSupported, again[i])
		}
	} else if r.tries++; r.tries > maxTries {
		return as(blocks.ActionBackOff, again[0])
	}
	if wanted(blocks.ActionRecheck) >= 0 {
		if o := recheck(ctx, src, dst); o.Action != blocks.ActionDone {
			return o
		}
	}
	if wanted(blocks.ActionRetry) >= 0 && pause(ctx, max(r.tries, 1)) != nil {
		return blocks.Canceled(ctx.Err())
	}
	return blocks.Outcome{}
}

// as is what would be tried again, given up.
func as(a blocks.Action, o blocks.Outcome) blocks.Outcome {
	o.Action = a
	return o
}

// recheck makes sure that the logical units are the ones that were probed.
func recheck(ctx context.Context, src, dst *Device) blocks.Outcome {
	devices := []*Device{dst}
	if src != dst {
		devices = append(devices, src)
	}
	for _, d := range devices {
		if err := d.Same(ctx); err != nil {
			return judgeIdentity(ctx, err)
		}
	}
	return blocks.Outcome{}
}

// judgeIdentity says what to make of a unit that is not the one that was probed,
// or does not say so.
func judgeIdentity(ctx context.Context, err error) blocks.Outcome {
	var a Answer
	switch {
	case ctx.Err() != nil:
		return blocks.Canceled(ctx.Err())
	case errors.Is(err, blocks.ErrChanged), errors.Is(err, blocks.ErrInvalid), errors.Is(err, blocks.ErrShort):
		return blocks.Outcome{Action: blocks.ActionReresolve, Reason: "device:changed", Err: err}
	case errors.As(err, &a) && a.Status == ReservationConflict:
		return blocks.Outcome{Action: blocks.ActionSurface, Reason: a.slug(), Err: err}
	}
	return blocks.Outcome{Action: blocks.ActionBackOff, Reason: "device:identify", Err: err}
}
