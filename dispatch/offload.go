package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// Why steps that were to be offloaded were not, or had to be done again.
const (
	ReasonHoldUnavailable remap.Reason = "hold:unavailable"
	ReasonHoldContended   remap.Reason = "hold:contended"
	ReasonHoldShared      remap.Reason = "hold:shared"
	ReasonHoldSlow        remap.Reason = "hold:slow"
	ReasonHoldLost        remap.Reason = "hold:lost"
	ReasonLayoutChanged   remap.Reason = "layout:changed"
	ReasonProofFailed     remap.Reason = "domain:proof-failed"
)

// holdWait bounds the wait for one hold. Somebody who changes the layout is
// usually done sooner; if not, the plan is made again.
const holdWait = time.Second

// extendEvery is how often the expiry of a hold is looked after while commands
// are in flight.
const extendEvery = time.Second

// offload issues the steps of a window under a hold and returns those that the
// host has to do. The error is errReplan if the layout is not the planned one
// and nothing was issued, and errRedone if it changed afterwards, in which case
// all steps are returned.
func (r *run) offload(ctx context.Context, steps map[pairKey][]Step) ([]Step, error) {
	if r.barren > maxBarren {
		r.barren = 0
		return r.fallBack(steps, cmp.Or(r.barrenWhy, ReasonHoldContended)), nil
	}
	held, err := r.holder.Hold(ctx, request(r.plan.stack, steps, min(holdWait, r.opts.Patience)))
	switch {
	case errors.Is(err, hold.ErrContended):
		r.log.Info("waiting for a change of the layout", "error", err)
		return nil, r.replanFor(ReasonHoldContended)
	case errors.Is(err, hold.ErrSlow):
		r.log.Info("the destination is not held", "error", err)
		return r.fallBack(steps, ReasonHoldSlow), nil
	case err != nil:
		r.log.Info("the destination is not held", "error", err)
		return r.fallBack(steps, ReasonHoldUnavailable), nil
	}
	redo, err := r.underHold(ctx, held, steps)
	if releaseErr := held.Release(); releaseErr != nil {
		r.log.Warn("release of the hold", "error", releaseErr)
	}
	return redo, err
}

// replanFor is the error of a window of which nothing was begun, for a reason that
// counts if it does not get better.
func (r *run) replanFor(why remap.Reason) error {
	r.barrenWhy = why
	return errReplan
}

// fallBack sends all steps through the host, none having been issued.
func (r *run) fallBack(steps map[pairKey][]Step, why remap.Reason) []Step {
	r.stats.fallbacks++
	return allToHost(steps, why)
}

func allToHost(steps map[pairKey][]Step, why remap.Reason) []Step {
	var all []Step
	for _, some := range steps {
		for _, s := range some {
			s.toHost(why)
			all = append(all, s)
		}
	}
	return all
}

// underHold compares, issues, and compares again. What was not begun because the
// layout was seen to change, or because the hold was about to end, is taken out of the
// steps.
func (r *run) underHold(ctx context.Context, held hold.Held, steps map[pairKey][]Step) ([]Step, error) {
	r.hasNews()
	changed, err := r.plan.changes(ctx)
	r.miss(changed)
	if err != nil || len(changed) > 0 {
		r.log.Info("the layout is not the planned one", "changes", fmt.Sprint(changed), "error", err)
		return nil, r.replanFor(ReasonHoldContended)
	}
	// What was compared is what is held only if it was held until now.
	if err := held.Check(); err != nil {
		r.log.Info("the hold ended before the first command", "error", err)
		return nil, r.replanFor(ReasonHoldLost)
	}
	began := time.Now()
	issueCtx, stop := context.WithCancelCause(ctx)
	cuttable, cut := context.WithCancelCause(issueCtx)
	stopExtending, stopWatching := extend(held, stop), r.watchLayout(ctx, cut)
	results, err := r.issue(issueCtx, cuttable, steps, notAfter(held))
	seen := stopWatching()
	stop(nil)
	lostHold := errors.Join(stopExtending(), held.Check())
	r.window.unbegun = rangesOf(takeOut(steps, results))
	r.postpone(results)
	if lostHold == nil {
		r.poison(results)
	}
	// What the commands have done has to be known even if the copy is ended.
	changed, changesErr := r.plan.changes(context.WithoutCancel(ctx))
	// A change that is only being prepared waits for the release.
	moved := remap.Moved(slices.Concat(seen, changed))
	r.miss(moved)
	if r.onlyGone(moved, through(steps)) {
		r.tellDone(results)
		return nil, wrap("offload", errors.Join(r.missed(), err))
	}
	if err := errors.Join(err, wrap("plan", changesErr)); err != nil {
		if len(moved) == 0 && lostHold == nil {
			r.tellDone(results)
		}
		return nil, errors.Join(err, r.movedBelowCommands(ctx, held, steps, moved, lostHold))
	}
	if len(moved) > 0 || lostHold != nil {
		return r.redoWindow(ctx, held, steps, moved, lostHold)
	}
	redo, offloaded := r.settleOffload(results)
	r.size = resize(r.size, offloaded, grain(steps), time.Since(began), r.opts.Window)
	return redo, nil
}

// settleOffload counts what the devices have copied and returns what they have
// not.
func (r *run) settleOffload(results []issued) (redo []Step, offloaded int64) {
	r.tellDone(results)
	for _, res := range results {
		offloaded += res.offloaded
		redo = append(redo, res.redo...)
	}
	r.redone(redo)
	return redo, offloaded
}

// tellDone counts what the devices have copied.
func (r *run) tellDone(results []issued) {
	for _, res := range results {
		r.count(res.method, res.offloaded)
	}
}

// redone counts steps that were issued to a device and go through the host.
func (r *run) redone(steps []Step) {
	if len(steps) > 0 {
		r.stats.fallbacks++
	}
	for _, s := range steps {
		r.stats.redone += s.Len
	}
}

// extend extends the hold until stop is called, which tells whether it was kept.
// It does so even if the copy is being ended, because commands that are in
// flight come back when they like. If extending fails, lost keeps further
// commands from being issued.
func extend(held hold.Held, lost context.CancelCauseFunc) (stop func() error) {
	over := make(chan struct{})
	kept := make(chan error, 1)
	go func() {
		tick := time.NewTicker(extendEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				kept <- nil
				return
			case <-tick.C:
				if err := held.Extend(); err != nil {
					lost(err)
					kept <- err
					return
				}
			}
		}
	}()
	return func() error {
		close(over)
		return <-kept
	}
}

// redoWindow sends a window through the host whose commands did not run under the
// layout that they were planned for.
func (r *run) redoWindow(ctx context.Context, held hold.Held, steps map[pairKey][]Step, moved []remap.Change, lostHold error) ([]Step, error) {
	if err := r.movedBelowCommands(ctx, held, steps, moved, lostHold); err != nil {
		return nil, err
	}
	if len(steps) == 0 { // nothing was begun
		return nil, errRedone
	}
	why := ReasonLayoutChanged
	if lostHold != nil {
		why = ReasonHoldLost
		r.log.Warn("the hold ended early: doing the window again through the host", "error", lostHold)
	}
	redo := allToHost(steps, why)
	r.redone(redo)
	return redo, errRedone
}

// movedBelowCommands tells of a device that changed while commands were writing below it.
// They may have written to places that belonged to somebody else by then: that
// is never passed over. A device of the destination that they did not write
// through may change as it likes, as a mirror does that comes to be in sync; and
// so may others, if all that was written is known to be in its place.
func (r *run) movedBelowCommands(ctx context.Context, held hold.Held, steps map[pairKey][]Step, moved []remap.Change, lostHold error) error {
	written := through(steps)
	i := slices.IndexFunc(moved, func(c remap.Change) bool { return written[c.Dev] })
	if i < 0 || lostHold == nil && r.stillThere(ctx, held, steps) {
		return nil
	}
	return wrap("offload", errors.Join(
		fmt.Errorf("the destination changed while commands were writing below it: %v: check what else lives on its disks", moved[i]), lostHold))
}

// through lists the devices on the way down to what the steps write.
func through(steps map[pairKey][]Step) map[remap.Dev]bool {
	devs := make(map[remap.Dev]bool)
	seen := make(map[*remap.Via]bool)
	for key, some := range steps {
		devs[key.dst] = true
		for _, s := range some {
			if seen[s.via] {
				continue
			}
			seen[s.via] = true
			for _, link := range s.via.Chain() {
				devs[link.Dev] = true
			}
		}
	}
	return devs
}

// issued is what became of the steps of one pair.
type issued struct {
	key       pairKey
	method    Method
	offloaded int64
	redo      []Step
	unbegun   []Step
	postponed int64 // bytes of unbegun, because of the hold
	// disproof is why a pair that was not trusted yet cannot be.
	disproof error
	err      error
}

// issue carries out all pairs of the window side by side. When cuttable ends, which
// it does with ctx at the latest, no further command is begun but those of a proof.
func (r *run) issue(ctx, cuttable context.Context, steps map[pairKey][]Step, notAfter boottime.Limit) ([]issued, error) {
	keys := slices.Collect(maps.Keys(steps))
	results := make([]issued, len(keys))
	states := make([]*pairState, len(keys))
	for i, key := range keys {
		var err error
		var gone *copydomain.Withdrawn
		switch states[i], err = r.pairState(ctx, key, steps[key][0].pair); {
		case errors.As(err, &gone):
			r.poisoned[key] = gone.Reason
			states[i], results[i] = nil, issued{redo: allToHost(map[pairKey][]Step{key: steps[key]}, gone.Reason)}
		case err != nil:
			return nil, wrap("offload", err)
		}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex // counters and poisoned pairs
	for i, key := range keys {
		if states[i] == nil {
			continue
		}
		wait.Go(func() {
			results[i] = r.issuePair(ctx, cuttable, key, states[i], newBatch(steps[key], notAfter), &mu)
		})
	}
	wait.Wait()
	var errs []error
	for _, res := range results {
		errs = append(errs, res.err)
	}
	return results, wrap("offload", errors.Join(errs...))
}

func (r *run) pairState(ctx context.Context, key pairKey, pair copydomain.Pair) (*pairState, error) {
	if st := r.copiers[key]; st != nil {
		return st, nil
	}
	st := &pairState{}
	copier, err := r.d.machine.Copier(ctx, pair, copydomain.CopyOptions{
		InFlight: r.opts.InFlight,
		Timeout:  r.opts.CommandTimeout,
		Allowed:  st.check,
		NotAfter: st.notAfter,
		Log:      r.log,
	})
	st.copier, st.disk = copier, diskOf(pair.Dst)
	if err == nil {
		r.copiers[key] = st
	}
	return st, err
}

var errOutside = errors.New("command would write outside of the planned extents")

// check is the last assertion before a command is issued: it writes nothing
// but what the plan says.
func (st *pairState) check(dst, length remap.Sector) error {
	if b := st.allowed.Load(); b == nil || !b.covers(dst.Bytes(), length.Bytes()) {
		return fmt.Errorf("%w: %d sectors at %d", errOutside, length, dst)
	}
	return nil
}

// issuePair issues the steps of one pair: first, if the pair has to prove itself, a
// little that is read back.
func (r *run) issuePair(ctx, cuttable context.Context, key pairKey, st *pairState, b *batch, mu *sync.Mutex) issued {
	st.allowed.Store(b)
	defer st.allowed.Store(nil)
	p, moves := r.proofs[key], b.moves()
	var results []copydomain.Result
	var failed error
	if p.sample.Len > 0 {
		first, err := r.prove(ctx, st, p, b, moves)
		if err != nil {
			return issued{err: err}
		}
		results, moves, failed = append(results, first.result), first.rest, first.failed
	}
	if failed == nil && len(moves) > 0 {
		result, err := st.copier.Copy(cuttable, moves)
		if err != nil {
			return issued{err: err}
		}
		results = append(results, result)
	}
	mu.Lock()
	defer mu.Unlock()
	wasCut := cuttable.Err() != nil && ctx.Err() == nil
	out := r.judge(key, b, results, func(v copydomain.Verdict) bool { return r.unbegun(v, wasCut, p.proven || noneIssued(results)) })
	if out.err != nil && !p.proven { // what is left after the first command was not begun
		out.offloaded = 0
	}
	switch {
	case failed != nil && ctx.Err() != nil:
		// The hold was lost or the copy is ended: that says nothing about the pair.
		out.offloaded, out.redo = 0, allToHost(map[pairKey][]Step{key: b.steps}, ReasonHoldLost)
	case errors.Is(failed, errUntold):
		out.offloaded, out.redo = 0, allToHost(map[pairKey][]Step{key: b.steps}, ReasonUnproven)
	case failed != nil:
		return r.disproved(key, b, failed, out)
	case !p.proven && len(out.redo) > 0:
		// Some of it failed, and nothing tells of the rest.
		out.offloaded, out.redo = 0, allToHost(map[pairKey][]Step{key: b.steps}, out.redo[0].Reason)
	}
	return out
}

// noneIssued: no command was.
func noneIssued(results []copydomain.Result) bool {
	return !slices.ContainsFunc(results, func(r copydomain.Result) bool { return r.Commands > 0 })
}

// disproved sends a pair through the host that has not done what it said.
func (r *run) disproved(key pairKey, b *batch, cause error, out issued) issued {
	if out.err != nil {
		return out
	}
	return issued{
		key: key, method: out.method, disproof: cause,
		redo: allToHost(map[pairKey][]Step{key: b.steps}, ReasonProofFailed),
	}
}

// poison keeps pairs from being used again that were disproved while the layout was held:
// without the hold somebody else can have written to what was read back. So he can below
// a source that drifts; then the next window has to prove the pair again.
func (r *run) poison(results []issued) {
	for _, res := range results {
		switch {
		case res.disproof == nil:
		case errors.Is(res.disproof, errUnequal) && r.plan.stack.Drifts(r.job.Src.Dev):
			r.log.Info("copy offload could not be proven while the source drifts", "error", res.disproof)
		default:
			r.log.Warn("copy offload failed its proof and is not used any more", "error", res.disproof)
			r.poisoned[res.key] = ReasonProofFailed
		}
	}
}

// judge draws the conclusions from the results of a batch. unbegun tells of which
// verdicts what was not copied is planned again.
func (r *run) judge(key pairKey, b *batch, results []copydomain.Result, unbegun func(copydomain.Verdict) bool) issued {
	out := issued{key: key, method: Method(b.pair.Method)}
	var taken []Step
	for _, s := range b.steps {
		out.offloaded += s.Len
	}
	for _, result := range results {
		r.stats.commands += result.Commands
		for _, f := range result.Fenced {
			out.err = errors.Join(out.err, fmt.Errorf("%w: %d sectors at sector %d of %s: %w",
				ErrFenced, f.Len, f.Dst, b.pair.Dst.DisplayName(), f.Err))
			for _, s := range b.whole(f.Dst.Bytes(), f.Len.Bytes(), taken) {
				taken = append(taken, s)
				out.offloaded -= s.Len // of a fenced run
			}
		}
		for _, f := range result.Redo {
			if err := r.consequence(key, b, f); out.err == nil {
				out.err = err // one is enough: the others say the same
			}
			for _, s := range b.whole(f.Dst.Bytes(), f.Len.Bytes(), taken) {
				taken = append(taken, s)
				out.offloaded -= s.Len
				if unbegun(f.Verdict) {
					out.unbegun = append(out.unbegun, s)
					if f.Verdict == copydomain.Expired {
						out.postponed += s.Len
					}
					continue
				}
				s.toHost(f.Reason)
				out.redo = append(out.redo, s)
			}
		}
	}
	return out
}

// consequence draws what a failed run means beyond itself.
func (r *run) consequence(key pairKey, b *batch, f copydomain.Redo) error {
	switch f.Verdict {
	case copydomain.PairUnusable, copydomain.Reresolve:
		// Nor is a device trusted any more that does not look as it did.
		r.poisoned[key] = f.Reason
	case copydomain.Surface:
		return fmt.Errorf("%s refuses to copy to sector %d: %w", b.pair.Dst.DisplayName(), f.Dst, f.Err)
	}
	return nil
}
