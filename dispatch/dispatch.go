package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// Dispatcher carries out copies on one machine.
type Dispatcher struct {
	machine Machine
	opts    Options
}

// New returns a dispatcher.
func New(m Machine, opts Options) *Dispatcher {
	return &Dispatcher{machine: m, opts: opts.withDefaults()}
}

// Copy carries out the job and reports what became of every byte. The report
// comes with an error, too, if anything was begun; it is nil if nothing was. If
// the error is a [Stuck], the ends of the job are still in use.
func (d *Dispatcher) Copy(ctx context.Context, job Job) (*Report, error) {
	r, err := d.newRun(job)
	if err != nil {
		return nil, err
	}
	report, err := attend(ctx, r, func() (*Report, error) { return r.whole(ctx) })
	if errors.Is(err, ErrStuck) {
		report = r.lastReport(err)
	}
	return report, err
}

// whole is a copy from its beginning to its end.
func (r *run) whole(ctx context.Context) (*Report, error) {
	r.listen()
	ctx, err := r.freeze(ctx)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	if err := r.prepare(ctx); err != nil {
		return nil, errors.Join(r.thawAfter(endedBy(ctx, err)), r.close())
	}
	r.settled.Store(r.report(nil))
	err = r.thawAfter(endedBy(ctx, r.lacking(ctx, r.copy(ctx))))
	r.unmark(context.WithoutCancel(ctx), err)
	err = r.conclude(ctx, err)
	err = errors.Join(err, r.close())
	return r.report(err), err
}

// Check refuses what Copy would refuse because of the plan, and writes nothing.
// Whether the layout can be held shows only when it is done.
func (d *Dispatcher) Check(ctx context.Context, job Job) error {
	r, err := d.newRun(job)
	if err != nil {
		return err
	}
	if err = r.files.check(r.job.Ranges); err == nil {
		_, err = r.survey(ctx)
	}
	return errors.Join(err, r.close())
}

// Verify compares source and destination of the job through the top.
func (d *Dispatcher) Verify(ctx context.Context, job Job) (emulation.Comparison, error) {
	r, err := d.newRun(job)
	if err != nil {
		return emulation.Comparison{}, err
	}
	if err := r.files.compare(); err != nil {
		return emulation.Comparison{}, errors.Join(err, r.close())
	}
	return attend(ctx, r, func() (emulation.Comparison, error) {
		found, err := r.compare(ctx, r.job.Ranges)
		return found, errors.Join(err, r.close())
	})
}

// survey plans and looks over the whole plan. Nothing is written.
func (r *run) survey(ctx context.Context) (*survey, error) {
	r.phase(PhaseScanning)
	if r.opts.Journal == nil { // else it is not known yet what is to be written
		if err := r.zones.refuse(r.job.Ranges); err != nil {
			return nil, err
		}
	}
	p, err := r.settle(ctx)
	if err != nil {
		return nil, err
	}
	r.adopt(p)
	sv, err := p.look(ctx, r.job.Ranges)
	return sv, wrap("plan", err)
}

// prepare does everything that can refuse the copy. Nothing is written.
func (r *run) prepare(ctx context.Context) error {
	if err := r.files.take(r.job.Ranges); err != nil {
		return err
	}
	// What is known of thin volumes has to be as new as the copy: what is not mapped in an
	// older view may have been written to.
	if !r.job.Src.Dev.IsZero() && !r.job.Dst.Dev.IsZero() {
		if err := r.d.machine.Renew(); err != nil {
			return wrap("plan", err)
		}
	}
	sv, err := r.survey(ctx)
	if err != nil {
		return err
	}
	r.total = sv.total
	if r.plan.stack != nil {
		r.holder = r.d.machine.Holder(r.opts.Hold, r.plan.stack.Node(r.job.Dst.Dev))
	}
	if sv.mapped {
		err := r.holder.Ready()
		if err != nil && r.opts.Offload == OffloadRequire {
			return wrap("hold", fmt.Errorf("%w: %w", ErrPolicy, err))
		}
		if err != nil {
			r.log.Warn("the layout of the destination cannot be held: copying through the host", "error", err)
		}
	}
	return r.takeUp(ctx)
}

// copy goes window by window.
func (r *run) copy(ctx context.Context) error {
	if err := r.dropCaches(ctx); err != nil {
		return wrap("flush", err)
	}
	if err := r.prime(ctx); err != nil {
		return err
	}
	rest := r.pending
	for {
		if err := r.copyAll(ctx, rest); err != nil {
			return err
		}
		again, err := r.finish(ctx)
		if len(again) == 0 && (err == nil || errors.Is(err, ErrMismatch)) {
			return errors.Join(err, r.files.unmodified())
		}
		if err != nil {
			return err
		}
		rest = again
	}
}

// copyAll copies the ranges, window by window.
func (r *run) copyAll(ctx context.Context, rest []Range) error {
	r.phase(PhaseCopying)
	for len(rest) > 0 {
		done, err := r.advance(ctx, rest)
		unbegun := r.window.unbegun
		rest = slices.Concat(unbegun, skip(rest, done))
		if errors.Is(err, errReplan) {
			rest, err = r.replan(ctx, done-length(unbegun), rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errReplan ends a walk over the plan: the layout is not what it was.
var errReplan = errors.New("plan again")

// maxBarren is how often in a row the layout may change before anything was
// copied in between; then the next window goes through the host.
const maxBarren = 8

// advance walks the plan of the ranges and returns how many bytes of them are
// done, but for what is unbegun of the last window.
func (r *run) advance(ctx context.Context, ranges []Range) (done int64, err error) {
	w := &r.window
	w.reset()
	flush := func() error {
		if len(w.steps) == 0 {
			return nil
		}
		var before account
		err := r.paced(ctx, func() (int64, error) {
			redone, began := r.stats.redone, time.Now()
			before = r.account()
			err := r.carryOut(ctx, w)
			r.ledger.measure(w.moved(), time.Since(began), r.opts.JournalEvery)
			return w.moved() + r.stats.redone - redone, err
		})
		// A window that was redone is done, although the plan is stale.
		redone := errors.Is(err, errRedone)
		if err != nil && !redone {
			return err
		}
		done += w.bytes
		r.done.note(w.whole(), r.account().plus(before, -1))
		r.settled.Store(r.report(nil))
		if err := r.settleWindow(ctx); err != nil {
			return err
		}
		if redone {
			return errReplan
		}
		r.barren = 0
		w.reset()
		return nil
	}
	for s, err := range r.plan.steps(ctx, ranges) {
		if err != nil {
			return done, wrap("plan", err)
		}
		for rest := w.take(s, r.size, r.most()); rest != nil; rest = w.take(rest, r.size, r.most()) {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	return done, flush()
}

// skip drops the first n bytes of the ranges.
func skip(ranges []Range, n int64) []Range {
	for len(ranges) > 0 && n >= ranges[0].Len {
		n -= ranges[0].Len
		ranges = ranges[1:]
	}
	if n == 0 || len(ranges) == 0 {
		return ranges
	}
	rest := append([]Range(nil), ranges...)
	rest[0] = Range{Src: rest[0].Src + n, Dst: rest[0].Dst + n, Len: rest[0].Len - n}
	return rest
}

// length is how many bytes the ranges have.
func length(ranges []Range) int64 {
	var sum int64
	for _, g := range ranges {
		sum += g.Len
	}
	return sum
}

// first are the first n bytes of the ranges.
func first(ranges []Range, n int64) []Range {
	var some []Range
	for _, g := range ranges {
		some = appendRange(some, g.part(0, min(g.Len, n)))
		if n -= g.Len; n <= 0 {
			break
		}
	}
	return some
}

// replan waits until the layout stands still and plans the rest again, and what has
// to be copied once more. What would have been refused at the beginning is refused now
// as well.
func (r *run) replan(ctx context.Context, done int64, rest []Range) ([]Range, error) {
	if done == 0 {
		r.barren++
	}
	if r.barren > maxBarren && r.opts.Offload == OffloadRequire {
		return nil, wrap("hold", ErrLayout)
	}
	r.phase(PhaseRefreshing)
	p, err := r.settle(ctx)
	if err != nil {
		return nil, err
	}
	was, lost := r.plan, r.lost(ctx)
	r.adopt(p)
	again, moved, err := r.review(ctx, was, lost)
	if err != nil {
		return nil, err
	}
	rest = slices.Concat(rest, again)
	if p.layout != nil && len(remap.Moved(was.layout.Changes(p.layout))) > 0 {
		r.stats.changes++
		if _, err := p.look(ctx, rest); err != nil {
			return nil, wrap("plan", err)
		}
	}
	if len(again) == 0 && len(moved) > 0 {
		if err := p.refuseMoved(ctx, slices.Concat(rest, moved)); err != nil {
			return nil, wrap("plan", err)
		}
	}
	r.phase(PhaseCopying)
	return rest, nil
}

// settlePoll is how often a layout in transition is looked at.
const settlePoll = 50 * time.Millisecond

// settle takes a snapshot that is not in transition, or at least of which nothing that
// is is mapped.
func (r *run) settle(ctx context.Context) (*plan, error) {
	deadline := time.Now().Add(r.opts.Patience)
	var moving *remap.Node
	for {
		p, err := r.d.newPlan(ctx, r.job, r.poisoned)
		if err != nil && moving != nil && ctx.Err() != nil {
			return nil, interruptedBy(ctx, moving)
		}
		if err != nil {
			return nil, wrap("plan", err)
		}
		p.told = r.told
		if moving = p.moving(); moving == nil {
			return p, nil
		}
		if time.Now().After(deadline) {
			if moving.Unread { // whatever that is: it is copied through the kernel
				return p, nil
			}
			return nil, wrap("plan", fmt.Errorf("%w: %s is %s", ErrLayout, moving.DisplayName(), moving.Transition))
		}
		select {
		case <-ctx.Done():
			return nil, interruptedBy(ctx, moving)
		case <-time.After(settlePoll):
		}
	}
}

// interruptedBy is the end of a copy that waits for a device in transition.
func interruptedBy(ctx context.Context, moving *remap.Node) error {
	return fmt.Errorf("%w: waiting for %s, which is %s", interrupted(ctx), moving.DisplayName(), moving.Transition)
}

// moving returns a device of the plan that is in transition, if any, and one that was
// not read as a whole only if no other is.
func (p *plan) moving() (found *remap.Node) {
	if p.layout == nil {
		return nil
	}
	for _, dev := range []remap.Dev{p.src.Dev, p.dst.Dev} {
		for _, n := range p.layout.Under(dev) {
			if n.Transition != "" && (found == nil || found.Unread) {
				found = n
			}
		}
	}
	return found
}

// endedBy makes an interruption of an error that is one: what was called while
// the context ended says so in its own words.
func endedBy(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ErrInterrupted) || errors.Is(err, ErrThawed) {
		return err
	}
	cause := context.Cause(ctx)
	switch {
	case !errors.Is(err, ctx.Err()) && !errors.Is(err, cause):
		return err
	case errors.Is(cause, ErrThawed):
		return fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("%w: %w", ErrInterrupted, err)
}

// interrupted is the end of a copy whose context has ended. If that is because the
// source does not stand still any more, nobody has interrupted anything.
func interrupted(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrThawed) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrInterrupted, cause)
}
