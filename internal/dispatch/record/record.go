// Package record keeps what a copy has done: in memory, so that it can be compared again when the
// destination was moved, and in a journal, so that another run can go on.
package record

import (
	"cmp"
	"log/slog"
	"slices"
	"sort"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/internal/journal"
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
	// is set.
	journalWindow = 256 << 20
	journalTime   = 5 * time.Second
)

// Record is what a copy has done. Only what was done since the last Save is not in the journal.
type Record struct {
	journal Journal // may be nil
	every   time.Duration
	calls   *inflight.Calls
	account *account.Account
	log     *slog.Logger

	unsaved journal.Map
	saved   time.Time
	most    int64 // the largest window, in bytes
	bad     int   // how many bad parts were entered, and are final

	entries       []entry           // what is done, in the order in which it was done
	marked        []byterange.Range // may have been written elsewhere: the destination was moved
	invalidations int               // of what was done, by a move
}

// New records in a journal, which may be nil, and not more often than is set.
func New(j Journal, every time.Duration, calls *inflight.Calls, counts *account.Account, log *slog.Logger) *Record {
	return &Record{journal: j, every: every, calls: calls, account: counts, log: log, saved: time.Now(), most: window.InitialSize}
}

// HasJournal tells whether there is a journal.
func (r *Record) HasJournal() bool { return r.journal != nil }

// Limit is the largest window that is recorded often enough, in bytes, and limit at most.
func (r *Record) Limit(limit int64) int64 {
	if r.journal == nil {
		return limit
	}
	return min(limit, r.most)
}

// Measure adapts the largest window to how long the last one took.
func (r *Record) Measure(bytes int64, took time.Duration) {
	if bytes == 0 || took <= 0 {
		return
	}
	fit := float64(bytes) * float64(cmp.Or(r.every, journalTime)) / float64(took)
	r.most = int64(min(max(fit, window.MinSize), journalWindow)) &^ (window.Unit - 1)
}

// Enter enters a window: what went through the host, and the rest, which was offloaded; and
// what could not be read of it.
func (r *Record) Enter(offload window.Offload, host []plan.Step, bad []account.Bad) {
	if r.journal == nil {
		return
	}
	done := slices.Concat(host, plan.Without(offload.Steps(), host))
	// A map grows fast at its end only.
	slices.SortFunc(done, func(a, b plan.Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	for _, s := range done {
		r.unsaved.Put(journal.Extent{Off: s.DstOff, Len: s.Len, Status: journal.Done, Method: string(s.Method)})
	}
	for _, b := range bad[r.bad:] {
		r.unsaved.Put(journal.Extent{Off: b.Dst, Len: b.Len, Status: journal.Bad})
	}
	r.bad = max(len(bad)-1, 0) // the last one may grow
}

// Due tells whether there is something to be saved, and nothing was lately.
func (r *Record) Due() bool {
	return r.journal != nil && !r.unsaved.Empty() && time.Since(r.saved) >= r.every
}

// Saved tells whether there is nothing to be saved.
func (r *Record) Saved() bool { return r.unsaved.Empty() }

// Unsaved is what is done and not saved.
func (r *Record) Unsaved() []journal.Extent { return r.unsaved.Extents() }

// Drop forgets what is not saved: nobody knows whether it is durable.
func (r *Record) Drop() { r.unsaved = journal.Map{} }

// Save enters into the journal what is not, all of which is durable.
func (r *Record) Save() error {
	if r.journal == nil {
		return nil
	}
	done := r.unsaved
	r.unsaved, r.saved = journal.Map{}, time.Now()
	if done.Empty() {
		return nil
	}
	return r.write(done.Extents())
}

func (r *Record) write(extents []journal.Extent) error {
	defer r.calls.Begin("writing", "the state", inflight.NoOffset)()
	return failure.During("state", r.journal.Record(extents))
}

// Withdraw takes back what was said to be done of the ranges, and returns it. What is
// recorded is taken back durably, before anything is built on its being unknown.
func (r *Record) Withdraw(ranges []byterange.Range) ([]journal.Extent, error) {
	if r.journal == nil {
		return nil, nil
	}
	recorded := claimed(r.journal.Extents(), ranges)
	claims := append(recorded, claimed(r.unsaved.Extents(), ranges)...)
	for _, g := range ranges {
		r.unsaved.Put(journal.Extent{Off: g.Dst, Len: g.Len, Status: journal.Pending})
	}
	if len(recorded) == 0 {
		return claims, nil
	}
	var taken []journal.Extent
	for _, e := range recorded {
		e.Status, e.Method = journal.Pending, ""
		taken = append(taken, e)
	}
	return claims, r.write(taken)
}

// Restore says again that something is done that was withdrawn.
func (r *Record) Restore(claims []journal.Extent) {
	for _, e := range claims {
		r.unsaved.Put(e)
	}
}

// claimed lists what of the extents, which are in order, lies in the ranges.
func claimed(extents []journal.Extent, ranges []byterange.Range) (list []journal.Extent) {
	for _, g := range ranges {
		first := sort.Search(len(extents), func(i int) bool { return extents[i].Off+extents[i].Len > g.Dst })
		for _, e := range extents[first:] {
			if e.Off >= g.Dst+g.Len {
				break
			}
			end := min(e.Off+e.Len, g.Dst+g.Len)
			e.Off = max(e.Off, g.Dst)
			e.Len = end - e.Off
			list = append(list, e)
		}
	}
	return list
}
