package offload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// underHold compares, issues, and compares again. What was not begun because the
// layout was seen to change, or because the hold was about to end, is taken out of the
// steps.
func (o *Offloader) underHold(ctx context.Context, held hold.Held, steps window.Offload) (Outcome, error) {
	if why := o.refuted(ctx, held); why != "" {
		return Outcome{Why: why}, nil
	}
	began := time.Now()
	results, seen, lost, err := o.issueHeld(ctx, held, steps)
	out := Outcome{Begun: true, Unbegun: plan.RangesOf(results.takeOut(steps)), Why: o.postpone(results)}
	if lost == nil {
		o.rejectDisproved(results)
	}
	// What the commands have done has to be known even if the copy is ended.
	changed, changesErr := o.layout.Changes(context.WithoutCancel(ctx))
	// A change that is only being prepared waits for the release.
	moved := remap.Moved(slices.Concat(seen, changed))
	o.layout.NoteMissing(moved)
	if o.layout.OnlyMissing(moved, steps.Through()) {
		o.enter(results)
		return out, failure.During("offload", errors.Join(o.layout.MissingError(), err))
	}
	if err := errors.Join(err, failure.During("plan", changesErr)); err != nil {
		if len(moved) == 0 && lost == nil {
			o.enter(results)
		}
		return out, errors.Join(err, o.movedBelowCommands(ctx, held, steps, moved, lost))
	}
	if len(moved) > 0 || lost != nil {
		out.Stale = true
		out.Redo, err = o.redoWindow(ctx, held, steps, moved, lost)
		return out, err
	}
	out.Redo, out.Offloaded = o.settle(results)
	out.Held = time.Since(began)
	return out, nil
}

// refuted compares the layout with the plan, and tells why nothing can be begun. What was
// compared is what is held only if it was held until now.
func (o *Offloader) refuted(ctx context.Context, held hold.Held) remap.Reason {
	o.layout.HasEvent()
	changed, err := o.layout.Changes(ctx)
	o.layout.NoteMissing(changed)
	if err != nil || len(changed) > 0 {
		o.log.Info("the layout is not the planned one", "changes", fmt.Sprint(changed), "error", err)
		return plan.ReasonHoldContended
	}
	if err := held.Check(); err != nil {
		o.log.Info("the hold ended before the first command", "error", err)
		return plan.ReasonHoldLost
	}
	return ""
}

// issueHeld issues the steps, extends the hold, and looks after the layout meanwhile. It
// returns what was seen of that, and why the hold has not lasted, if it has not.
func (o *Offloader) issueHeld(ctx context.Context, held hold.Held, steps window.Offload) (results results, seen []remap.Change, lost, err error) {
	issueCtx, stop := context.WithCancelCause(ctx)
	cuttable, cut := context.WithCancelCause(issueCtx)
	stopExtending, stopWatching := extend(held, stop), o.watchLayout(ctx, cut)
	results, err = o.issue(issueCtx, cuttable, steps, notAfter(held))
	seen = stopWatching()
	stop(nil)
	return results, seen, errors.Join(stopExtending(), held.Check()), err
}

// settle counts what the devices have copied and returns what they have not.
func (o *Offloader) settle(results results) (redo []plan.Step, offloaded int64) {
	o.enter(results)
	for _, res := range results {
		offloaded += res.offloaded
		redo = append(redo, res.redo...)
	}
	o.Redone(redo)
	return redo, offloaded
}

// enter counts what the devices have copied.
func (o *Offloader) enter(results results) {
	for _, res := range results {
		o.account.Enter(res.method, "", res.offloaded)
	}
}

// Redone counts steps that were issued to a device and go through the host.
func (o *Offloader) Redone(steps []plan.Step) {
	if len(steps) > 0 {
		o.account.Count(account.Fallbacks, 1)
	}
	for _, s := range steps {
		o.account.Count(account.Redone, s.Len)
	}
}

// redoWindow sends a window through the host whose commands did not run under the
// layout that they were planned for.
func (o *Offloader) redoWindow(ctx context.Context, held hold.Held, steps window.Offload, moved []remap.Change, lost error) ([]plan.Step, error) {
	if err := o.movedBelowCommands(ctx, held, steps, moved, lost); err != nil {
		return nil, err
	}
	if len(steps) == 0 { // nothing was begun
		return nil, nil
	}
	why := plan.ReasonLayoutChanged
	if lost != nil {
		why = plan.ReasonHoldLost
		o.log.Warn("the hold ended early: doing the window again through the host", "error", lost)
	}
	redo := steps.ToHost(why)
	o.Redone(redo)
	return redo, nil
}

// movedBelowCommands tells of a device that changed while commands were writing below it.
// They may have written to places that belonged to somebody else by then: that
// is never passed over. A device of the destination that they did not write
// through may change as it likes, as a mirror does that comes to be in sync; and
// so may others, if all that was written is known to be in its place.
func (o *Offloader) movedBelowCommands(ctx context.Context, held hold.Held, steps window.Offload, moved []remap.Change, lost error) error {
	written := steps.Through()
	i := slices.IndexFunc(moved, func(c remap.Change) bool { return written[c.Dev] })
	if i < 0 || lost == nil && o.stillThere(ctx, held, steps) {
		return nil
	}
	return failure.During("offload", errors.Join(
		fmt.Errorf("the destination changed while commands were writing below it: %v: check what else lives on its disks", moved[i]), lost))
}

// stillThere tells whether all that the steps have written lies where it was written,
// on the same disks by whatever path: a multipath device that takes another path has
// changed, and so has a partition that was made longer. While a hold is on no table is
// swapped: what lies there now, if the hold is on still, lay there all the time. Who
// trusts has no such hold.
//
// Reading a stack can be I/O, to devices that a swap keeps suspended that waits for
// this hold: then the hold ends by itself ([hold.ErrLost]), and the answer is no.
func (o *Offloader) stillThere(ctx context.Context, held hold.Held, steps window.Offload) bool {
	if o.opts.Hold != hold.Auto {
		return false
	}
	now, err := o.machine.Stack(context.WithoutCancel(ctx), o.opts.Dst)
	if err != nil {
		return false
	}
	for _, s := range steps.Steps() {
		if !plan.WritesInto(now, o.opts.Dst, &s) {
			return false
		}
	}
	return held.Check() == nil
}
