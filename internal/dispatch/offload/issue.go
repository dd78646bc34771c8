package offload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/proof"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// issued is what became of the steps of one pair.
type issued struct {
	key       plan.Key
	src, dst  *remap.Node
	method    account.Method
	offloaded int64
	redo      []plan.Step
	unbegun   []plan.Step
	postponed int64 // bytes of unbegun, because of the hold
	// disproof is why a pair that was not trusted yet cannot be.
	disproof error
	err      error
}

// results are those of all pairs of a window.
type results []issued

// takeOut takes what was not begun of a window out of its steps, and returns it in
// the order of the destination.
func (r results) takeOut(steps window.Offload) (unbegun []plan.Step) {
	for _, res := range r {
		unbegun = append(unbegun, res.unbegun...)
		steps.Remove(res.key, res.unbegun)
	}
	slices.SortFunc(unbegun, func(a, b plan.Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	return unbegun
}

// issue carries out all pairs of the window side by side. When cuttable ends, which
// it does with ctx at the latest, no further command is begun but those of a proof.
func (o *Offloader) issue(ctx, cuttable context.Context, steps window.Offload, notAfter boottime.Limit) (results, error) {
	keys := slices.Collect(maps.Keys(steps))
	results := make(results, len(keys))
	states := make([]*pairState, len(keys))
	for i, key := range keys {
		var err error
		var gone *copydomain.Withdrawn
		pair := steps[key][0].Pair
		switch states[i], err = o.pair(ctx, key, pair); {
		case errors.As(err, &gone):
			if ctx.Err() == nil { // else it is not known
				o.trust.Reject(pair.Src, pair.Dst, gone.Reason)
			}
			states[i], results[i] = nil, issued{redo: window.ToHost(steps[key], gone.Reason)}
		case err != nil:
			return nil, failure.During("offload", err)
		}
	}
	var wait sync.WaitGroup
	for i, key := range keys {
		if states[i] != nil {
			wait.Go(func() {
				results[i] = o.issuePair(ctx, cuttable, key, states[i], window.NewBatch(steps[key], notAfter))
			})
		}
	}
	wait.Wait()
	var errs []error
	for _, res := range results {
		errs = append(errs, res.err)
	}
	return results, failure.During("offload", errors.Join(errs...))
}

// issuePair issues the steps of one pair: first, if the pair has to prove itself, a
// little that is read back.
func (o *Offloader) issuePair(ctx, cuttable context.Context, key plan.Key, st *pairState, b *window.Batch) issued {
	st.allowed.Store(b)
	defer st.allowed.Store(nil)
	moves := b.Moves()
	var done []copydomain.Result
	var failed error
	if o.prover.Due(key) {
		first, err := o.prover.Prove(ctx, st.copier, key, b, moves)
		if err != nil {
			return issued{err: err}
		}
		done, moves, failed = append(done, first.Result), first.Rest, first.Failed
	}
	if failed == nil && len(moves) > 0 {
		result, err := st.copier.Copy(cuttable, moves)
		if err != nil {
			return issued{err: err}
		}
		done = append(done, result)
	}
	wasCut, proven := cuttable.Err() != nil && ctx.Err() == nil, o.prover.Proven(key)
	out := o.judge(key, b, done, func(v copydomain.Action) bool { return o.unbegun(v, wasCut, proven || noneIssued(done)) })
	if out.err != nil && !proven { // what is left after the first command was not begun
		out.offloaded = 0
	}
	switch {
	case failed != nil && ctx.Err() != nil:
		// The hold was lost or the copy is ended: that says nothing about the pair.
		out.offloaded, out.redo = 0, window.ToHost(b.Steps, plan.ReasonHoldLost)
	case errors.Is(failed, proof.ErrInconclusive):
		out.offloaded, out.redo = 0, window.ToHost(b.Steps, plan.ReasonUnproven)
	case failed != nil:
		return disproved(key, b, failed, out)
	case !proven && len(out.redo) > 0:
		// Some of it failed, and nothing tells of the rest.
		out.offloaded, out.redo = 0, window.ToHost(b.Steps, out.redo[0].Reason)
	}
	return out
}

// noneIssued: no command was.
func noneIssued(done []copydomain.Result) bool {
	return !slices.ContainsFunc(done, func(r copydomain.Result) bool { return r.Commands > 0 })
}

// disproved sends a pair through the host that has not done what it said.
func disproved(key plan.Key, b *window.Batch, cause error, out issued) issued {
	if out.err != nil {
		return out
	}
	return issued{
		key: key, src: b.Pair.Src, dst: b.Pair.Dst, method: out.method, disproof: cause,
		redo: window.ToHost(b.Steps, plan.ReasonProofFailed),
	}
}

// rejectDisproved keeps pairs from being used again that were disproved while the layout was held:
// without the hold somebody else can have written to what was read back. So he can below
// a source that copies on write; then the next window has to prove the pair again.
func (o *Offloader) rejectDisproved(results results) {
	for _, res := range results {
		switch {
		case res.disproof == nil:
		case errors.Is(res.disproof, proof.ErrUnequal) && o.layout.Plan().Stack.CopiesOnWrite(o.opts.Src):
			o.log.Info("copy offload could not be proven while somebody writes to the origin of the source", "error", res.disproof)
		default:
			o.log.Warn("copy offload failed its proof and is not used any more", "error", res.disproof)
			o.trust.Reject(res.src, res.dst, plan.ReasonProofFailed)
		}
	}
}

// judge draws the conclusions from the results of a batch. unbegun tells after which actions
// a run that was not copied is planned again.
func (o *Offloader) judge(key plan.Key, b *window.Batch, done []copydomain.Result, unbegun func(copydomain.Action) bool) issued {
	out := issued{key: key, src: b.Pair.Src, dst: b.Pair.Dst, method: account.Method(b.Pair.Method)}
	var taken []plan.Step
	take := func(run copydomain.Redo, note func(plan.Step)) {
		for _, s := range b.Whole(run.Dst.Bytes(), run.Len.Bytes(), taken) {
			taken = append(taken, s)
			out.offloaded -= s.Len
			note(s)
		}
	}
	for _, s := range b.Steps {
		out.offloaded += s.Len
	}
	for _, result := range done {
		o.account.Count(account.Commands, result.Commands)
		for _, f := range result.Fenced {
			out.err = errors.Join(out.err, fmt.Errorf("%w: %d sectors at sector %d of %s: %w",
				failure.ErrFenced, f.Len, f.Dst, b.Pair.Dst.DisplayName(), f.Err))
			take(f, func(plan.Step) {})
		}
		for _, f := range result.Redo {
			if err := o.consequence(b, f); out.err == nil {
				out.err = err // one is enough: the others say the same
			}
			take(f, func(s plan.Step) { out.leave(s, f, unbegun(f.Action)) })
		}
	}
	return out
}

// leave notes a step that was not copied.
func (out *issued) leave(s plan.Step, f copydomain.Redo, unbegun bool) {
	if !unbegun {
		s.ToHost(f.Reason)
		out.redo = append(out.redo, s)
		return
	}
	out.unbegun = append(out.unbegun, s)
	if f.Action == copydomain.ActionExpired {
		out.postponed += s.Len
	}
}

// consequence draws what a failed run means beyond itself.
func (o *Offloader) consequence(b *window.Batch, f copydomain.Redo) error {
	switch f.Action {
	case copydomain.ActionNotSupported, copydomain.ActionReresolve:
		// Nor is a device trusted any more that does not look as it did.
		o.trust.Reject(b.Pair.Src, b.Pair.Dst, f.Reason)
	case copydomain.ActionSurface:
		return fmt.Errorf("%s refuses to copy to sector %d: %w", b.Pair.Dst.DisplayName(), f.Dst, f.Err)
	}
	return nil
}
