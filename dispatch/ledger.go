package dispatch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/journal"
	"github.com/dmcopy/dmcopy/remap"
)

// Journal keeps what a copy has done, so that another run of it can go on; it
// is a [journal.File] outside of tests.
type Journal interface {
	// Job is the key of the samples.
	Job() []byte
	// Extents lists what earlier runs have done.
	Extents() []journal.Extent
	// Begun is told what samples of the source look like, before anything is
	// written. It fails if they are not those of the earlier runs.
	Begun(samples []journal.Sample) error
	// Record keeps what became of parts of the destination, durably. What is
	// done is durable by then.
	Record(extents []journal.Extent) error
	// Complete notes that there is nothing left to do.
	Complete() error
	// Forget drops all that was recorded: the destination is not what it says.
	Forget() error
}

const (
	// journalWindow bounds windows while there is a journal, in bytes: a window
	// is copied again if a crash comes before it is recorded. On slow devices
	// they are smaller, so that none takes much longer than journalTime, or than
	// JournalEvery if there is one.
	journalWindow = 256 << 20
	journalTime   = 5 * time.Second
)

// ledger is what was done since the last record.
type ledger struct {
	unsaved journal.Map
	saved   time.Time
	// most is the largest window, in bytes.
	most int64
	// bad is how many bad parts were entered, and are final.
	bad int
}

// measure adapts the largest window to how long the last one took.
func (l *ledger) measure(bytes int64, took, every time.Duration) {
	if bytes == 0 || took <= 0 {
		return
	}
	fit := float64(bytes) * float64(cmp.Or(every, journalTime)) / float64(took)
	l.most = int64(min(max(fit, minWindow), journalWindow)) &^ (windowUnit - 1)
}

// noteWindow enters a window into the ledger: what went through the host, and
// the rest, which was offloaded; and what could not be read of it.
func (r *run) noteWindow(offload map[pairKey][]Step, host []Step) {
	if r.opts.Journal == nil {
		return
	}
	done := slices.Clone(host)
	for _, steps := range offload {
		done = append(done, without(steps, host)...)
	}
	// A map grows fast at its end only.
	slices.SortFunc(done, func(a, b Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	for _, s := range done {
		r.ledger.unsaved.Put(journal.Extent{Off: s.DstOff, Len: s.Len, Status: journal.Done, Method: string(s.Method)})
	}
	for _, b := range r.bad[r.ledger.bad:] {
		r.ledger.unsaved.Put(journal.Extent{Off: b.Dst, Len: b.Len, Status: journal.Bad})
	}
	r.ledger.bad = max(len(r.bad)-1, 0) // the last one may grow
}

// settleWindow looks whether the destination is where the window was written, and saves
// the ledger. If it is not, the plan is stale. No hold is on.
func (r *run) settleWindow(ctx context.Context) error {
	if !r.due() && len(r.window.byHost) == 0 {
		return nil // it was compared while it was held
	}
	if r.due() {
		return r.checkpoint(ctx)
	}
	return r.standing(ctx)
}

// due tells whether there is something to be saved, and nothing was lately.
func (r *run) due() bool {
	return r.opts.Journal != nil && !r.ledger.unsaved.Empty() && time.Since(r.ledger.saved) >= r.opts.JournalEvery
}

// checkpoint saves the ledger if that is due. What is flushed is looked for where it was
// written, before it is said to be done. No hold is on.
func (r *run) checkpoint(ctx context.Context) error {
	if !r.due() {
		return nil
	}
	if err := r.flush(ctx); err != nil {
		return wrap("flush", err)
	}
	if err := r.standing(ctx); err != nil {
		return err
	}
	return r.record()
}

// standing fails with errReplan if the layout is not that of the plan.
func (r *run) standing(ctx context.Context) error {
	still, err := r.stands(ctx)
	if err == nil && !still {
		err = errReplan
	}
	return err
}

// flush makes everything durable that was written so far, and visible. After one that
// has failed nobody knows what is: a later one that succeeds says nothing about it. So
// it is carried out even if the copy is to end: what was written is not forgotten for
// that, and how long it takes is looked after by whoever waits for the copy.
func (r *run) flush(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	err := errors.Join(r.job.Dst.Device.Flush(), r.flushLeaves(ctx), r.inPlace(), r.dropStale(ctx))
	if err != nil {
		r.ledger.unsaved = journal.Map{}
	}
	return err
}

// inPlace fails if a file that was written has not its name and length any more.
func (r *run) inPlace() error {
	defer r.vigil.begin("looking at", r.job.Dst.Name, noPlace)()
	return r.files.inPlace()
}

// flushLeaves flushes every disk that commands have written. Of several paths to
// one disk, one that works is enough: what is flushed is the disk.
func (r *run) flushLeaves(ctx context.Context) error {
	flushed := make(map[string]bool)
	failed := make(map[string]error)
	for _, st := range r.copiers {
		if err := st.copier.Flush(ctx); err != nil {
			failed[st.disk] = errors.Join(failed[st.disk], err)
		} else {
			flushed[st.disk] = true
		}
	}
	var errs []error
	for disk, err := range failed {
		if !flushed[disk] {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// record saves the ledger, all of which is durable.
func (r *run) record() error {
	if r.opts.Journal == nil {
		return nil
	}
	done := r.ledger.unsaved
	r.ledger.unsaved, r.ledger.saved = journal.Map{}, time.Now()
	if done.Empty() {
		return nil
	}
	defer r.vigil.begin("writing", "the state", noPlace)()
	return wrap("state", r.opts.Journal.Record(done.Extents()))
}

// conclude leaves page caches and the journal in the state that the copy has ended in.
func (r *run) conclude(ctx context.Context, err error) error {
	if err == nil {
		err = r.unread()
	}
	if r.left.Load() {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		err = errors.Join(err, r.endEarly(ctx, errors.Is(err, ErrMismatch)))
	}
	switch {
	case r.opts.Journal == nil:
		return err
	case err == nil:
		return wrap("state", r.opts.Journal.Complete())
	case errors.Is(err, ErrMismatch):
		return errors.Join(err, wrap("state", r.opts.Journal.Forget()))
	}
	return err
}

// endEarly leaves what was done before a copy ended early: saved, unless it is
// forgotten, and visible. A destination that is in transition is not waited for.
func (r *run) endEarly(ctx context.Context, forgotten bool) error {
	changed, err := r.plan.changes(ctx)
	still := err == nil && len(changed) == len(remap.Moved(changed))
	switch {
	case r.opts.Journal == nil || forgotten:
		if !still {
			return nil
		}
		return wrap("flush", r.dropStale(ctx))
	case !still:
		return wrap("state", err)
	}
	return r.saveLast(ctx)
}

// saveLast saves what is not saved. Of a destination that was moved, nothing is said to
// be done that does not lie where it lay.
func (r *run) saveLast(ctx context.Context) error {
	leave := r.flush
	if r.ledger.unsaved.Empty() {
		leave = r.dropStale
	}
	if err := leave(ctx); err != nil {
		return wrap("flush", err)
	}
	still, err := r.stands(ctx)
	if err == nil && !still {
		err = r.disown(ctx)
	}
	if err != nil {
		return err
	}
	return r.record()
}
