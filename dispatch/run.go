package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// run is the state of one copy.
type run struct {
	d    *Dispatcher
	job  Job
	opts Options
	log  *slog.Logger

	engine  emulation.Engine
	holder  Holder // nil if an end is a regular file
	watch   Watch
	copiers map[pairKey]*pairState
	proofs  map[pairKey]*proof
	marks   []marked
	leafMu  sync.Mutex
	leaves  map[remap.Dev]Leaf

	plan      *plan
	touched   map[remap.Dev]touched // the devices of all plans so far
	poisoned  map[pairKey]remap.Reason
	missing   map[remap.Dev]string // disks that are gone, by what they are called
	told      twins
	window    window
	size      int64        // of the next window, in offloaded bytes
	barren    int          // plans in a row of which nothing was copied
	barrenWhy remap.Reason // why, of the last of them
	pending   []Range      // what earlier runs have not done
	done      diary
	doubt     []Range // what may have been written where the destination did not stay
	losses    int     // of what was done, by a move
	resumed   int64   // what they have done, in bytes
	ledger    ledger
	pace      pacer
	nice      niceness
	bad       []Bad // in the order that they were met
	primed    int64 // bytes that were copied ahead of time
	zones     zones
	frozen    *stillness    // nil if the source is not frozen
	still     time.Duration // for how long it was, to the end

	total     int64
	comparing int64 // bytes that a verification has to read
	tally     tally
	counters  struct{ offloaded, host, zeroed, skipped, failed, compared, readBack atomic.Int64 }
	stats     struct{ commands, windows, changes, moved, recopied, redone, postponed, fallbacks, looks, cuts int64 }
	verified  Verify
	current   atomic.Value // Phase
	started   time.Time
	cpu       time.Duration

	vigil *vigil
	files fileEnds
	// settled is the report of the windows that are done.
	settled atomic.Pointer[Report]
	// left: nobody waits for the run any more.
	left atomic.Bool
}

// pairState is what a run knows about a pair of leaves.
type pairState struct {
	copier copydomain.Copier
	disk   string // that is written, whatever the path to it
	// allowed is the batch that is being issued.
	allowed atomic.Pointer[batch]
}

// newRun checks the job and makes what carries it out.
func (d *Dispatcher) newRun(job Job) (*run, error) {
	ranges, err := Ranges(job.Src, job.Dst, job.Ranges)
	if err != nil {
		return nil, err
	}
	job.Ranges = ranges
	job.Ranges = job.inSectors()
	files := filesOf(job, d.opts)
	v := newVigil()
	d = &Dispatcher{watchedMachine{d.machine, v}, d.opts}
	job = job.withFiles().watchedBy(v)
	options := emulation.Options{QueueDepth: d.opts.InFlight}
	if d.opts.Sparse {
		options.Sparse = emulation.SparseZero
	}
	if job.Dst.Zones != nil {
		options = inOrder
		job.Dst.Device = &sequential{Device: job.Dst.Device}
	}
	engine, err := emulation.NewThreads(options)
	if err != nil {
		return nil, err
	}
	r := &run{
		d: d, job: job, opts: d.opts, log: d.opts.Log,
		engine:   engine,
		watch:    Deaf{},
		copiers:  make(map[pairKey]*pairState),
		proofs:   make(map[pairKey]*proof),
		leaves:   make(map[remap.Dev]Leaf),
		poisoned: make(map[pairKey]remap.Reason),
		missing:  make(map[remap.Dev]string),
		told:     make(twins),
		touched:  make(map[remap.Dev]touched),
		zones:    newZones(job.Dst),
		size:     min(firstWindow, d.opts.Window),
		tally:    newTally(),
		verified: VerifyNone,
		nice:     newNiceness(d.opts.Nice, d.opts.Log),
		ledger:   ledger{most: firstWindow},
		started:  time.Now(),
		cpu:      cpuTime(),
		vigil:    v,
		files:    files,
	}
	r.pace.rate = func() int64 { return r.nice.rate(r.opts.Rate()) }
	r.current.Store(PhaseScanning)
	return r, nil
}

func (r *run) close() error {
	r.log.Debug("layout looked at early", "times", r.stats.looks, "windows cut short", r.stats.cuts)
	errs := []error{r.thaw(), r.engine.Close(), r.watch.Close()}
	if r.holder != nil {
		errs = append(errs, r.holder.Close())
	}
	for _, leaf := range r.leaves {
		errs = append(errs, leaf.Close())
	}
	return errors.Join(errs...)
}

// count notes that a device has copied bytes.
func (r *run) count(m Method, bytes int64) {
	if bytes == 0 {
		return
	}
	r.tally.add(m, "", bytes)
	r.counters.offloaded.Add(bytes)
	r.tell()
}

func (r *run) phase(p Phase) {
	r.current.Store(p)
	r.tell()
}

func (r *run) tell() {
	if r.left.Load() {
		return
	}
	c := &r.counters
	offloaded, host, zeroed := c.offloaded.Load(), c.host.Load(), c.zeroed.Load()
	p := Progress{
		Phase: r.current.Load().(Phase), Total: r.total, Done: offloaded + host + zeroed + c.skipped.Load() + c.failed.Load(),
		Offloaded: offloaded, Host: host, Zeroed: zeroed, Resumed: r.resumed,
	}
	if p.Phase == PhaseVerifying {
		p.Total, p.Done, p.Resumed = r.comparing, c.compared.Load(), 0
	}
	r.opts.Progress(p)
}

// report sums up.
func (r *run) report(err error) *Report {
	c := &r.counters
	rep := &Report{
		Schema: Schema, Result: OutcomeOK, Total: r.total,
		Offloaded: c.offloaded.Load(), Host: c.host.Load(), Zeroed: c.zeroed.Load(), Skipped: c.skipped.Load(),
		Failed: c.failed.Load(), Bad: append([]Bad{}, r.bad...),
		Commands: r.stats.commands, ByMethod: r.byMethod(), Reasons: r.tally.sorted(),
		Windows: r.stats.windows, LayoutChanges: r.stats.changes, Moved: r.stats.moved, Recopied: r.stats.recopied, Primed: r.primed, ReadBack: c.readBack.Load(), Redone: r.stats.redone, Postponed: r.stats.postponed, Fallbacks: r.stats.fallbacks,
		Backoffs: r.nice.backoffs, Frozen: r.still.Seconds(), Verified: r.verified, Seconds: time.Since(r.started).Seconds(), CPU: (cpuTime() - r.cpu).Seconds(),
		Errors: []string{},
	}
	rep.fail(err)
	return rep
}

// fail enters why the copy has ended, if it has not ended well.
func (rep *Report) fail(err error) {
	if err == nil {
		return
	}
	rep.Result = OutcomeFailed
	if errors.Is(err, ErrInterrupted) || errors.Is(err, ErrUnread) || errors.Is(err, ErrThawed) {
		rep.Result = OutcomeIncomplete
	}
	rep.Errors = append(rep.Errors, err.Error())
}

// lastReport is the report of a run that was left behind: nothing of the window
// that was under way counts. It is nil if no window was begun.
func (r *run) lastReport(err error) *Report {
	settled := r.settled.Load()
	if settled == nil {
		return nil
	}
	rep := *settled
	rep.Seconds, rep.CPU = time.Since(r.started).Seconds(), (cpuTime() - r.cpu).Seconds()
	rep.Errors = nil
	rep.fail(err)
	return &rep
}

// byMethod is what was done, as opposed to what was planned: runs of zeroes
// that the host found are zeroed, not copied.
func (r *run) byMethod() map[Method]int64 {
	methods := make(map[Method]int64)
	for m, bytes := range r.tally.methods {
		if m.offloads() && bytes > 0 { // all of it can have been done again
			methods[m] = bytes
		}
	}
	for m, c := range map[Method]*atomic.Int64{MethodHost: &r.counters.host, MethodZero: &r.counters.zeroed, MethodSkip: &r.counters.skipped} {
		if bytes := c.Load(); bytes > 0 {
			methods[m] = bytes
		}
	}
	return methods
}

// cpuTime is what this process and its helpers have used so far.
func cpuTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var usage unix.Rusage
		if unix.Getrusage(who, &usage) == nil {
			sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	return sum
}

// errRedone says that a window was done, but through the host because its
// layout changed, and that the plan is stale.
var errRedone = errors.New("window redone")

// carryOut does one window: what can be offloaded first, under a hold, then
// everything else through the top. The error is errReplan if nothing of the
// window was done because the plan is stale, and errRedone if all of it was but
// what is unbegun.
func (r *run) carryOut(ctx context.Context, w *window) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	w.steps = r.zones.order(w.steps)
	offload, rest := w.split()
	// A step can be longer than a window, and its pair be poisoned since.
	for key, steps := range offload {
		if why, bad := r.poisoned[key]; bad {
			if r.plan.sparse() {
				return errReplan // so that holes are found, and not read
			}
			rest = append(rest, allToHost(map[pairKey][]Step{key: steps}, why)...)
			delete(offload, key)
		}
	}
	if r.barren <= maxBarren {
		untold, err := r.choose(ctx, offload)
		if err != nil {
			return err
		}
		rest = append(rest, untold...)
	}
	stale := false
	if len(offload) > 0 {
		redo, err := r.offload(ctx, offload)
		if stale = errors.Is(err, errRedone); err != nil && !stale {
			return err
		}
		if err == nil {
			drifted, err := r.drifted(ctx, offload, redo)
			if err != nil {
				return err
			}
			stale = len(drifted)+len(w.unbegun) > 0
			redo = append(redo, drifted...)
		}
		rest = append(rest, redo...)
	}
	if err := r.mayCopy(rest); err != nil {
		return err
	}
	if stale {
		// The host would wait for a suspended device; so do we, with a limit.
		if _, err := r.settle(ctx); err != nil {
			return err
		}
	}
	rest, err := r.fromPointers(ctx, rest)
	if err != nil {
		return err
	}
	if err := r.throughHost(ctx, rest); err != nil {
		return err
	}
	again, err := r.zeroedInVain(ctx, rest)
	if err == nil {
		err = r.throughHost(ctx, again)
	}
	if err != nil {
		return err
	}
	r.overwritten(w)
	host := append(without(rest, again), again...)
	r.noteWindow(offload, host)
	w.byHost = rangesOf(host)
	r.stats.windows++
	if stale || len(again)+len(w.unbegun) > 0 {
		return errRedone
	}
	return nil
}

// zeroedInVain returns the steps that were zeroed, or left alone, because their source
// had no place, if the source may have got one since the plan was made.
func (r *run) zeroedInVain(ctx context.Context, steps []Step) ([]Step, error) {
	var zeroed []Step
	for _, s := range steps {
		if s.Method == MethodZero || s.Method == MethodSkip {
			zeroed = append(zeroed, s)
		}
	}
	if len(zeroed) == 0 {
		return nil, nil
	}
	changed, err := r.plan.changes(ctx)
	if err != nil || len(remap.Moved(changed)) == 0 {
		return nil, wrap("plan", err)
	}
	for i, s := range zeroed {
		if s.Method == MethodSkip {
			r.counters.skipped.Add(-s.Len)
		} else {
			r.counters.zeroed.Add(-s.Len)
		}
		r.tally.add(s.Method, s.Reason, -s.Len)
		zeroed[i].toHost(ReasonLayoutChanged)
	}
	r.redone(zeroed)
	return zeroed, r.mayCopy(zeroed)
}
