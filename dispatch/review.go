package dispatch

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/record"
	"github.com/dmcopy/dmcopy/internal/dispatch/zones"
	"github.com/dmcopy/dmcopy/remap"
)

// A table can be swapped for one that maps the destination to another place, where
// nothing of what was copied is, or the source to one where other data is. What is done is
// done only as far as it can be shown: whenever the layout of one end is another one, what
// is done and does not lie where it lay, at either end, is compared. pvmove, which takes
// the data along, costs no more than that. If anything is different, all of it is copied again.

// reviewer compares what is done again when an end was moved.
type reviewer struct {
	*base
	source *source
	caches *caches
}

// errMovedAfterThaw: the source changes again, so that what was copied of it cannot be compared any more.
var errMovedAfterThaw = fmt.Errorf("%w: the destination was moved after the source was thawed", failure.ErrLayout)

// review compares what is done with the source, as far as it does not lie where it lay
// when was was planned with, or may have been written elsewhere. It returns what is to
// be copied again, and what was moved. If disks below the destination are lost, it is not
// copied again. No hold is on.
func (r *reviewer) review(ctx context.Context, was *plan.Plan, lost bool) (again, moved []byterange.Range, err error) {
	rechecks := r.record.Rechecks(was, r.layout.Plan(), r.sourceToCompare(), r.job.Dst.Dev)
	if len(rechecks) == 0 {
		return nil, nil, nil
	}
	var all []byterange.Range
	for _, s := range rechecks {
		moved, all = append(moved, s.Moved...), append(all, s.Ranges()...)
	}
	if lost && r.layout.WasOnMissing(was, moved) {
		return nil, nil, failure.During("copy", r.layout.MissingError())
	}
	claims, err := r.record.Withdraw(all)
	if err != nil {
		return nil, nil, err
	}
	r.account.Count(account.Moved, byterange.Length(moved))
	if r.source.thawed() {
		return nil, nil, failure.During("verify", errMovedAfterThaw)
	}
	if len(moved) > 0 {
		if err := r.caches.drop(ctx); err != nil {
			return nil, nil, failure.During("flush", failure.TooLate(err))
		}
	}
	there, err := r.equalNow(ctx, record.Sampled(rechecks))
	if err != nil {
		return nil, nil, err
	}
	if there {
		r.record.Restore(claims)
		return nil, moved, nil
	}
	if lost {
		return nil, nil, failure.During("copy", r.layout.MissingError())
	}
	again, err = r.invalidate(rechecks)
	return again, moved, err
}

// sourceToCompare is the source, if what was copied of it has to be what it holds now: not of one
// that changes while it is copied, nor of one that was frozen until all was read.
func (r *reviewer) sourceToCompare() remap.Dev {
	if r.opts.LiveSource || r.source.thawed() {
		return remap.Dev{}
	}
	return r.job.Src.Dev
}

// equalNow tells whether the destination holds in these places what the source holds. What
// cannot be read does not show it.
func (r *reviewer) equalNow(ctx context.Context, places []byterange.Range) (bool, error) {
	found, err := r.host.CompareRanges(ctx, r.host.Readable(places), emulation.Observer{})
	if ctx.Err() != nil {
		return false, failure.Interrupted(ctx)
	}
	if err != nil {
		r.log.Info("what was moved cannot be compared", "error", err)
	}
	return err == nil && len(found.Failures)+len(found.Mismatches) == 0, nil
}

// invalidate drops the entries, and returns their ranges, which are copied again.
func (r *reviewer) invalidate(rechecks []record.Recheck) ([]byterange.Range, error) {
	if r.zones.Any() {
		return nil, failure.During("zones", fmt.Errorf("%w: the source or the destination was moved, and what was copied is no copy any more", zones.ErrZone))
	}
	again, err := r.record.Invalidate(rechecks)
	if err != nil {
		return nil, err
	}
	r.host.Forget(again)
	return again, nil
}

// layoutUnchanged tells whether the layout is still the one of the plan. If it is not, or if an
// event says that it may not have been for a moment, what the host wrote in the window can have
// gone elsewhere.
func (r *reviewer) layoutUnchanged(ctx context.Context) (bool, error) {
	event := r.layout.HasEvent()
	changed, err := r.layout.Changes(ctx)
	if err != nil {
		return false, failure.During("plan", err)
	}
	moved := remap.Moved(changed)
	if (event || r.layout.Plan().OfDestination(moved)) && len(r.window.ByHost) > 0 {
		r.record.MarkForRecheck(r.window.ByHost)
		return false, nil
	}
	return len(moved) == 0, nil
}

// withdrawMoved withdraws what was recorded as done and does not lie where it lay. If the layout
// cannot be read, nothing more is recorded.
func (r *reviewer) withdrawMoved(ctx context.Context) error {
	if r.layout.DisksMissing(ctx) { // it cannot be looked at, and may come back
		r.record.Drop()
		return nil
	}
	now, err := r.layout.Again(ctx)
	if err != nil {
		r.record.Drop()
		r.log.Warn("what was done since the last entry is not entered: the layout cannot be read", "error", err)
		return nil
	}
	was := r.layout.Plan()
	r.layout.Follow(now)
	var moved []byterange.Range
	for _, s := range r.record.Rechecks(was, now, r.sourceToCompare(), r.job.Dst.Dev) {
		moved = append(moved, s.Ranges()...)
	}
	_, err = r.record.Withdraw(moved)
	return err
}
