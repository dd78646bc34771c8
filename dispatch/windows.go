package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/offload"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/proof"
	"github.com/dmcopy/dmcopy/remap"
)

// windows carries out the plan, window by window, and makes it again when the layout is
// another one.
type windows struct {
	*base
	caches   *caches
	reviewer *reviewer
	dest     *destination
	offload  *offload.Offloader
	prover   *proof.Prover
	trust    *plan.Trust
	done     func() // is told of each window

	size          int64        // of the next window, in offloaded bytes
	changesInARow int          // plans in a row of which nothing was copied
	barrenWhy     remap.Reason // why, of the last of them
}

var (
	// errReplan ends a walk over the plan: the layout is not what it was.
	errReplan = errors.New("plan again")
	// errRedone says that a window was done, but through the host because its
	// layout changed, and that the plan is stale.
	errRedone = errors.New("window redone")
)

// maxChangesInARow is how often in a row the layout may change without anything being
// copied in between. After that the next window goes through the host.
const maxChangesInARow = 8

// follow makes p the plan that the windows are cut from.
func (w *windows) follow(p *plan.Plan) {
	w.layout.Follow(p)
	w.pace.Watch(p.Stack, w.job.Src.Dev, w.job.Dst.Dev)
	w.caches.touch(p)
}

// copy copies the ranges, window by window.
func (w *windows) copy(ctx context.Context, rest []byterange.Range) error {
	w.account.SetPhase(account.PhaseCopying)
	for len(rest) > 0 {
		done, err := w.walk(ctx, rest)
		unbegun := w.window.Unbegun
		rest = slices.Concat(unbegun, byterange.Skip(rest, done))
		if errors.Is(err, errReplan) {
			rest, err = w.replan(ctx, done-byterange.Length(unbegun), rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk walks the plan of the ranges and returns how many bytes of them are
// done, but for what is unbegun of the last window.
func (w *windows) walk(ctx context.Context, ranges []byterange.Range) (done int64, err error) {
	w.window.Reset()
	for s, err := range w.layout.Plan().Steps(ctx, ranges) {
		if err != nil {
			return done, failure.During("plan", err)
		}
		for rest := w.window.Take(s, w.size, w.most()); rest != nil; rest = w.window.Take(rest, w.size, w.most()) {
			bytes, err := w.flush(ctx)
			if done += bytes; err != nil {
				return done, err
			}
		}
	}
	bytes, err := w.flush(ctx)
	return done + bytes, err
}

// most is how much goes into the next window.
func (w *windows) most() int64 { return w.pace.Most(w.record.Limit(w.opts.Window)) }

// flush carries out the window, when it may, and returns how many bytes of it are done.
func (w *windows) flush(ctx context.Context) (done int64, err error) {
	if len(w.window.Steps) == 0 {
		return 0, nil
	}
	var before account.Share
	err = w.pace.Do(ctx, func() error { return w.dest.checkpoint(ctx) }, func() (int64, error) {
		redone, began := w.account.Counted(account.Redone), time.Now()
		before = w.account.Share()
		err := w.carryOut(ctx)
		w.record.Measure(w.window.Moved(), time.Since(began))
		return w.window.Moved() + w.account.Counted(account.Redone) - redone, err
	})
	// A window that was redone is done, although the plan is stale.
	redone := errors.Is(err, errRedone)
	if err != nil && !redone {
		return 0, err
	}
	done = w.window.Bytes
	w.record.Note(w.window.Whole(), w.account.Share().Minus(before))
	w.done()
	if err := w.dest.settled(ctx); err != nil {
		return done, err
	}
	if redone {
		return done, errReplan
	}
	w.changesInARow = 0
	w.window.Reset()
	return done, nil
}

// replan waits until the layout stands still and plans the rest again, and what has
// to be copied once more. What would have been refused at the beginning is refused now
// as well.
func (w *windows) replan(ctx context.Context, done int64, rest []byterange.Range) ([]byterange.Range, error) {
	if done == 0 {
		w.changesInARow++
	}
	if w.changesInARow > maxChangesInARow && w.opts.Offload == plan.OffloadRequire {
		return nil, failure.During("hold", failure.ErrLayout)
	}
	w.account.SetPhase(account.PhaseRefreshing)
	p, err := w.layout.Settle(ctx)
	if err != nil {
		return nil, err
	}
	was, lost := w.layout.Plan(), w.layout.DisksMissing(ctx)
	w.follow(p)
	again, moved, err := w.reviewer.review(ctx, was, lost)
	if err != nil {
		return nil, err
	}
	rest = slices.Concat(rest, again)
	if p.Layout != nil && len(remap.Moved(was.Layout.Changes(p.Layout))) > 0 {
		w.account.Count(account.LayoutChanges, 1)
		if _, err := p.Survey(ctx, rest); err != nil {
			return nil, failure.During("plan", failure.TooLate(err))
		}
	}
	if len(again) == 0 && len(moved) > 0 {
		if err := p.RefuseMoved(ctx, slices.Concat(rest, moved)); err != nil {
			return nil, failure.During("plan", failure.TooLate(err))
		}
	}
	w.account.SetPhase(account.PhaseCopying)
	return rest, nil
}

// checkMoved finds out at the end of the copy whether the destination was moved. It returns
// what has to be copied again, and whether anything was moved.
func (w *windows) checkMoved(ctx context.Context) (again []byterange.Range, moved bool, err error) {
	still, err := w.reviewer.layoutUnchanged(ctx)
	if err != nil || still {
		return nil, false, err
	}
	before := w.account.Counted(account.Moved)
	again, err = w.replan(ctx, 1, nil)
	return again, w.account.Counted(account.Moved) > before, err
}
