package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/offload"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/proof"
	"github.com/dmcopy/dmcopy/internal/dispatch/record"
	"github.com/dmcopy/dmcopy/internal/dispatch/track"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/internal/dispatch/zones"
)

// run is one copy.
type run struct {
	*base
	trust    *plan.Trust
	engine   emulation.Engine
	leaves   *proof.Leaves
	source   *source
	caches   *caches
	verifier *verifier
	reviewer *reviewer
	resumer  *resumer
	dest     *destination
	windows  *windows
	holder   machine.Holder // nil if an end is a regular file
	keeper   *Volume        // of the holder; nil if nobody keeps it
	// settled is the report of the windows that are done.
	settled atomic.Pointer[account.Report]
	// left: nobody waits for the run any more.
	left atomic.Bool
}

// newRun checks the job and makes what carries it out.
func (e *Engine) newRun(job Job, opts Options) (*run, error) {
	opts = opts.withDefaults()
	ranges, err := ends.Ranges(job.Src, job.Dst, job.Ranges)
	if err != nil {
		return nil, err
	}
	job.Ranges = plan.InSectors(job.Src, job.Dst, ranges)
	files := ends.FilesOf(job.Src, job.Dst, opts.LiveSource, opts.Log)
	job.Dst.Device = files.Guard(job.Dst.Device)
	calls := inflight.New()
	job.Src, job.Dst = plan.Numbered(job.Src, job.Dst)
	job = job.watchedBy(calls)
	engine, err := opts.engine(&job)
	if err != nil {
		return nil, err
	}
	r := &run{trust: e.proofs.Trust(), engine: engine, keeper: job.keeper}
	r.base = e.newBase(job, opts, calls, r)
	r.leaves = proof.NewLeaves(r.machine, job.Src, job.Dst)
	r.source = &source{base: r.base}
	r.caches = newCaches(r.base)
	r.verifier = &verifier{r.base}
	r.reviewer = &reviewer{r.base, r.source, r.caches}
	r.resumer = &resumer{r.base, r.source, r.caches, r.verifier}
	r.dest = &destination{base: r.base, caches: r.caches, reviewer: r.reviewer, files: files, looked: time.Now()}
	r.windows = &windows{
		base: r.base, caches: r.caches, reviewer: r.reviewer, dest: r.dest, size: min(window.InitialSize, r.opts.Window),
		prover: proof.New(r.leaves, engine, job.Dst, r.zones, r.trust, r.account, r.log),
		trust:  r.trust,
		done:   func() { r.settled.Store(r.report(nil)) },
	}
	return r, nil
}

// engine is what copies through the host.
func (o Options) engine(job *Job) (emulation.Engine, error) {
	options := emulation.Options{QueueDepth: o.InFlight}
	if o.Sparse {
		options.Sparse = emulation.SparseZero
	}
	if job.Dst.Zones != nil {
		options = zones.InOrder
		job.Dst.Device = &zones.Sequential{Device: job.Dst.Device}
	}
	options.Log = o.Log
	return emulation.New(options)
}

func (e *Engine) newBase(job Job, opts Options, calls *inflight.Calls, r *run) *base {
	counts := account.New(opts.Progress)
	m := watchedMachine{e.machine, calls}
	b := &base{
		job: job, opts: opts, log: opts.Log, machine: m, calls: calls, account: counts,
		layout: track.New(m, opts.request(job.Src, job.Dst, r.trust), opts.Patience, opts.Log),
		record: record.New(opts.Journal, opts.JournalEvery, calls, counts, opts.Log),
		pace:   pace.New(opts.Rate, opts.Nice, counts, opts.Log),
		window: new(window.Window),
	}
	b.host = hostcopy.New(r.engine, job.Src, job.Dst, opts.OnError, counts, b.layout.Explain)
	b.zones = zones.New(job.Dst, b.host, counts, opts.Log)
	return b
}

// whole is a copy from its beginning to its end.
func (r *run) whole(ctx context.Context) (*account.Report, error) {
	r.layout.Listen()
	ctx, err := r.source.freeze(ctx)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	pending, err := r.prepare(ctx)
	if err != nil {
		return nil, errors.Join(r.source.thawAfter(failure.Ended(ctx, err)), r.close())
	}
	r.settled.Store(r.report(nil))
	err = r.source.thawAfter(failure.Ended(ctx, r.layout.WithMissing(ctx, r.copy(ctx, pending))))
	if !r.left.Load() {
		r.windows.prover.Unmark(context.WithoutCancel(ctx), r.layout.Changes, err)
	}
	err = r.conclude(ctx, err)
	err = errors.Join(err, r.close())
	return r.report(err), err
}

// survey plans and looks over the whole plan. Nothing is written.
func (r *run) survey(ctx context.Context) (*plan.Summary, error) {
	r.account.SetPhase(account.PhaseScanning)
	if !r.record.HasJournal() { // else it is not known yet what is to be written
		if err := r.zones.Refuse(r.job.Ranges); err != nil {
			return nil, err
		}
	}
	p, err := r.layout.Settle(ctx)
	if err != nil {
		return nil, err
	}
	r.windows.follow(p)
	sv, err := p.Survey(ctx, r.job.Ranges)
	return sv, failure.During("plan", err)
}

// prepare does everything that can refuse the copy, and returns what is to be copied. Nothing
// is written.
func (r *run) prepare(ctx context.Context) (pending []byterange.Range, err error) {
	if err := r.dest.files.Lock(r.job.Ranges); err != nil {
		return nil, err
	}
	// What is known of thin volumes has to be as new as the copy: what is not mapped in an
	// older view may have been written to.
	if !r.job.Src.Dev.IsZero() && !r.job.Dst.Dev.IsZero() {
		if err := r.machine.Renew(); err != nil {
			return nil, failure.During("plan", err)
		}
	}
	sv, err := r.survey(ctx)
	if err != nil {
		return nil, err
	}
	r.account.SetTotal(sv.Total)
	if err := r.ready(sv.Mapped); err != nil {
		return nil, err
	}
	if pending, err = r.resumer.takeUp(ctx); err != nil {
		return nil, err
	}
	return pending, failure.During("flush", r.caches.drop(ctx))
}

// ready prepares offloading, through a mapped destination if anything is to be.
func (r *run) ready(mapped bool) error {
	if stack := r.layout.Plan().Stack; stack != nil {
		r.holder = r.keeper.take(r.machine, r.opts.Hold, stack.Node(r.job.Dst.Dev))
	}
	r.dest.offload = offload.New(offload.Options{
		Src: r.job.Src.Dev, Dst: r.job.Dst.Dev, Hold: r.opts.Hold,
		InFlight: r.opts.InFlight, Timeout: r.opts.CommandTimeout, Patience: r.opts.Patience, InOrder: r.zones.Any(),
	}, r.machine, r.holder, r.layout, r.windows.prover, r.trust, r.account, r.log)
	r.windows.offload = r.dest.offload
	if !mapped {
		return nil
	}
	err := r.holder.Ready()
	if err != nil && r.opts.Offload == plan.OffloadRequire {
		return failure.During("hold", fmt.Errorf("%w: %w", failure.ErrPolicy, err))
	}
	if err != nil {
		r.log.Warn("copying through the host", "error", err)
	}
	return nil
}

// copy goes window by window.
func (r *run) copy(ctx context.Context, pending []byterange.Range) error {
	if err := r.dest.files.Begin(); err != nil {
		return err
	}
	if err := r.dest.files.BeginSource(); err != nil {
		return err
	}
	if err := r.windows.prime(ctx, pending); err != nil {
		return err
	}
	for {
		if err := r.windows.copy(ctx, pending); err != nil {
			return err
		}
		again, err := r.finish(ctx)
		if len(again) == 0 && (err == nil || errors.Is(err, failure.ErrMismatch)) {
			err = errors.Join(err, r.unwritten(ctx, err == nil))
			r.account.SourceChanged = r.dest.files.Changed()
			r.noteSourceGrowth()
			return err
		}
		if err != nil {
			return err
		}
		pending = again
	}
}

// unmodified fails if the source was written to while it was copied, as far as that shows in the
// times of a regular file: of the source, or of one that it is stored in. Where only its status has
// changed, both ends are compared: that can be a mode or a name, or a program that puts the
// time of modification back. So they are for a file that the source is stored in, which others
// may write to beside the source.
func (r *run) unmodified(ctx context.Context, equal bool) error {
	var sign *ends.ModifiedSign
	for range maxChangesInARow {
		err := r.dest.files.Unmodified()
		if err != nil || !equal {
			return err
		}
		if sign, err = r.dest.files.MayBeModified(); err != nil || sign == nil {
			return err
		}
		r.log.Info("the status of the source has changed: comparing source and destination", "source", r.job.Src.Name, "sign", sign.What)
		found, err := r.verifier.compare(ctx, r.host.Readable(r.job.Ranges))
		if err == nil {
			err = hostcopy.Lost(found.Failures)
		}
		if err != nil {
			return failure.During("verify", err)
		}
		if len(found.Mismatches) > 0 {
			sign.MaybeElsewhere = false
			break
		}
	}
	if sign.MaybeElsewhere {
		r.log.Warn("the source and its copy are equal, but it is not known for sure that nobody has written to the source", "source", r.job.Src.Name, "sign", sign.What)
		return nil
	}
	return failure.During("copy", fmt.Errorf("%w: %s: %s", failure.ErrSourceChanged, r.job.Src.Name, sign.What))
}

// noteSourceGrowth notes that the source is longer by now than the copy, which was to be one of all of it.
func (r *run) noteSourceGrowth() {
	grown, err := r.dest.files.SourceGrowth(r.job.Ranges)
	if err != nil {
		r.log.Debug("whether the source has grown was not found out", "error", err)
		return
	}
	r.account.SourceGrown = grown
}

// unwritten fails if the source was written to, or may be by now.
func (r *run) unwritten(ctx context.Context, equal bool) error {
	var users error
	if !r.opts.LiveSource {
		done := r.calls.Begin("looking for users", r.job.Src.Name, inflight.NoOffset)
		users = r.job.Src.StillUnused(ctx, r.log)
		done()
	}
	return errors.Join(users, r.unmodified(ctx, equal && users == nil))
}

// finish makes the copy durable and visible, and checks it if asked to. No hold
// is on any more: these are reads and writes through the top. If the destination was
// moved meanwhile without what it held, that is returned, to be copied again.
func (r *run) finish(ctx context.Context) (again []byterange.Range, err error) {
	if r.opts.Verify == account.VerifyNone { // else the source is read once more
		if err := r.source.thaw(); err != nil {
			return nil, err
		}
	}
	for range maxChangesInARow {
		r.window.Reset()
		r.account.SetPhase(account.PhaseFlushing)
		if err := r.dest.flush(ctx); err != nil {
			return nil, failure.During("flush", err)
		}
		if again, _, err := r.windows.checkMoved(ctx); err != nil || len(again) > 0 {
			return again, err
		}
		if err := r.dest.filled(ctx, r.job.Ranges); err != nil {
			return nil, failure.During("copy", err)
		}
		if err := r.record.Save(); err != nil {
			return nil, err
		}
		found := r.verifier.verify(ctx)
		if r.opts.Verify == account.VerifyNone || found != nil && !errors.Is(found, failure.ErrMismatch) {
			return nil, found
		}
		again, moved, err := r.windows.checkMoved(ctx)
		if err != nil || len(again) > 0 {
			return again, err
		}
		if !moved {
			return nil, found
		}
	}
	return nil, failure.During("verify", fmt.Errorf("%w: the source or the destination was moved each time that they were compared", failure.ErrLayout))
}

// conclude leaves page caches and the journal in the state that the copy has ended in.
func (r *run) conclude(ctx context.Context, err error) error {
	if err == nil {
		err = r.host.Unread()
	}
	if r.left.Load() {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	// Nobody knows what else of the destination is not what was written.
	wrong := errors.Is(err, failure.ErrMismatch) || errors.Is(err, failure.ErrPunched)
	if err != nil {
		err = errors.Join(err, r.dest.endEarly(ctx, wrong))
		wrong = wrong || errors.Is(err, failure.ErrPunched)
	}
	switch {
	case !r.record.HasJournal():
		return err
	case err == nil:
		return failure.During("state", r.opts.Journal.Complete())
	case wrong:
		return errors.Join(err, failure.During("state", r.opts.Journal.Forget()))
	}
	return err
}

func (r *run) close() error {
	r.log.Debug("layout looked at early", "times", r.account.Counted(account.Looks), "windows cut short", r.account.Counted(account.Cuts))
	errs := []error{r.source.thaw(), r.engine.Close(), r.layout.Close(), r.dest.files.Close()}
	if r.dest.offload != nil {
		errs = append(errs, r.dest.offload.Close())
	}
	if r.holder != nil {
		errs = append(errs, r.keeper.giveBack(r.opts.Hold, r.holder))
	}
	return errors.Join(append(errs, r.leaves.Close())...)
}

func (r *run) inflightOptions() inflight.Options {
	return inflight.Options{Waiting: r.opts.Waiting, GiveUp: r.opts.GiveUp, Abandoned: r.leave}
}

// leave has nobody wait for the run any more.
func (r *run) leave() {
	r.left.Store(true)
	r.account.Silence()
}

func (r *run) report(err error) *account.Report {
	report := r.account.Report(r.host.Bad(), err)
	report.Unwritten = slices.Clone(r.caches.unwritten)
	return report
}

// lastReport is the report of a run that was left behind: nothing of the window
// that was under way counts. It is nil if no window was begun.
func (r *run) lastReport(err error) *account.Report {
	settled := r.settled.Load()
	if settled == nil {
		return nil
	}
	return r.account.Last(settled, err)
}
