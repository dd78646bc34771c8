package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// carryOut does one window: what can be offloaded first, under a hold, then
// everything else through the top. The error is errReplan if nothing of the
// window was done because the plan is stale, and errRedone if all of it was but
// what is unbegun.
func (w *windows) carryOut(ctx context.Context) error {
	if ctx.Err() != nil {
		return failure.Interrupted(ctx)
	}
	w.window.Steps = w.zones.Order(w.window.Steps)
	offload, rest := w.window.Split()
	unusable, err := w.takeOutRejected(ctx, offload)
	if err != nil {
		return err
	}
	redo, stale, err := w.byDevices(ctx, offload)
	if err != nil {
		return err
	}
	host, again, err := w.byHost(ctx, slices.Concat(rest, unusable, redo), stale)
	if err != nil {
		return err
	}
	w.prover.Overwritten(w.window)
	w.record.Enter(offload, host, w.host.Bad())
	w.window.ByHost = plan.RangesOf(host)
	w.account.Count(account.Windows, 1)
	if stale || again || len(w.window.Unbegun) > 0 {
		return errRedone
	}
	return nil
}

// takeOutRejected takes out the steps of pairs that must not be used: a step can be longer than
// a window, so that its pair has failed since; and a pair may be impossible to prove.
func (w *windows) takeOutRejected(ctx context.Context, offload window.Offload) (unusable []plan.Step, err error) {
	for key, steps := range offload {
		if why, bad := w.trust.Rejected(steps[0].SrcLeaf, steps[0].DstLeaf); bad {
			if w.layout.Plan().Sparse() {
				return nil, errReplan // so that holes are found, and not read
			}
			unusable = append(unusable, window.ToHost(steps, why)...)
			delete(offload, key)
		}
	}
	if w.changesInARow > maxChangesInARow {
		return unusable, nil
	}
	unprovable, err := w.prover.Choose(ctx, offload)
	return append(unusable, unprovable...), err
}

// byDevices has devices carry out their steps. It returns those that the host has to do, and
// whether the plan is stale. What is unbegun is taken out of the steps.
func (w *windows) byDevices(ctx context.Context, offload window.Offload) (redo []plan.Step, stale bool, err error) {
	if len(offload) == 0 {
		return nil, false, nil
	}
	if w.changesInARow > maxChangesInARow {
		w.changesInARow = 0
		return w.offload.FallBack(offload, cmp.Or(w.barrenWhy, plan.ReasonHoldContended)), false, nil
	}
	out, err := w.offload.Carry(ctx, offload)
	w.barrenWhy = cmp.Or(out.Why, w.barrenWhy)
	w.window.Unbegun = out.Unbegun
	switch {
	case err != nil:
		return nil, false, err
	case !out.Begun:
		return nil, false, errReplan
	case out.Stale:
		return out.Redo, true, nil
	}
	w.size = window.Resize(w.size, out.Offloaded, offload.Grain(), out.Held, w.opts.Window)
	copied, err := w.copiedOnWrite(ctx, offload, out.Redo)
	return append(out.Redo, copied...), len(copied)+len(out.Unbegun) > 0, err
}

// byHost does the rest through the top. It returns the steps as they were done, and whether
// some were done again. With a stale plan the layout has to stand still first: the host would
// wait for a suspended device; so do we, with a limit.
func (w *windows) byHost(ctx context.Context, rest []plan.Step, stale bool) (done []plan.Step, again bool, err error) {
	if err := w.checkPolicy(rest); err != nil {
		return nil, false, err
	}
	if stale {
		if _, err := w.layout.Settle(ctx); err != nil {
			return nil, false, err
		}
	}
	if rest, err = w.zones.FromPointers(ctx, rest); err != nil {
		return nil, false, err
	}
	if err := w.host.Copy(ctx, rest); err != nil {
		return nil, false, err
	}
	once, err := w.staleZeroes(ctx, rest)
	if err == nil {
		err = w.host.Copy(ctx, once)
	}
	return append(plan.Without(rest, once), once...), len(once) > 0, err
}

// staleZeroes returns the steps that were zeroed, or left alone, because their source had
// no place, if the layout has changed since the plan was made: the source may have one now.
func (w *windows) staleZeroes(ctx context.Context, steps []plan.Step) ([]plan.Step, error) {
	var zeroed []plan.Step
	for _, s := range steps {
		if s.Method == account.Zero || s.Method == account.Skip {
			zeroed = append(zeroed, s)
		}
	}
	if len(zeroed) == 0 {
		return nil, nil
	}
	changed, err := w.layout.Changes(ctx)
	if err != nil || len(remap.Moved(changed)) == 0 {
		return nil, failure.During("plan", err)
	}
	for i, s := range zeroed {
		w.account.Withdraw(s.Method, s.Reason, s.Len)
		zeroed[i].ToHost(plan.ReasonLayoutChanged)
	}
	w.offload.Redone(zeroed)
	return zeroed, w.checkPolicy(zeroed)
}

// checkPolicy fails if the policy forbids to copy the steps through the host.
func (w *windows) checkPolicy(steps []plan.Step) error {
	if err := plan.CheckBypass(steps); err != nil {
		return failure.During("copy", err)
	}
	if w.opts.Offload != plan.OffloadRequire {
		return nil
	}
	var bytes int64
	var why remap.Reason
	for _, s := range steps {
		if s.Method == account.Host {
			bytes += s.Len
			why = s.Reason
		}
	}
	if bytes == 0 {
		return nil
	}
	return failure.During("offload", fmt.Errorf("%w: %d bytes could not be offloaded (%s)", failure.ErrPolicy, bytes, why))
}

// copiedOnWrite looks again where the source of a window lives, if it lives below a
// layer that gains entries without a change of layout, and returns what has
// moved: the device may have copied what came to the old place since. Such a
// layer is on disk before the old place is written to (dm-snap.c,
// pending_complete), so that what has not moved by now was right when it was
// copied. The hold has been released: reading those layers is I/O.
func (w *windows) copiedOnWrite(ctx context.Context, offload window.Offload, redo []plan.Step) ([]plan.Step, error) {
	if !w.layout.Plan().Stack.CopiesOnWrite(w.job.Src.Dev) {
		return nil, nil
	}
	now, err := w.layout.Settle(ctx)
	if err != nil {
		return nil, err
	}
	var moved []plan.Step
	for _, s := range plan.Without(offload.Steps(), redo) {
		some, err := now.MovedSource(s)
		if err != nil {
			return nil, failure.During("plan", err)
		}
		moved = append(moved, some...)
	}
	for i := range moved {
		s := &moved[i]
		w.account.Withdraw(s.Method, "", s.Len)
		s.ToHost(plan.ReasonCopiedOnWrite)
	}
	w.offload.Redone(moved)
	return moved, nil
}
