package account

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// Fate is what became of bytes.
type Fate int

const (
	Offloaded Fate = iota
	ByHost
	Zeroed
	Skipped
	// Failed: they could not be read.
	Failed
	fates
)

// Counter is something that is counted beside the fate of bytes.
type Counter int

const (
	Commands Counter = iota
	Windows
	// LayoutChanges counts the times that the layout was another one.
	LayoutChanges
	// Moved and the others down to Postponed count bytes: see [Report].
	Moved
	Recopied
	Primed
	ReadBack
	Redone
	Postponed
	Fallbacks
	Backoffs
	// Looks counts comparisons of the layout while commands were under way, and Cuts the
	// windows that were cut short for it.
	Looks
	Cuts
	counters
)

// Account counts for one copy. Bytes and counters can be added to from anywhere.
type Account struct {
	bytes [fates]atomic.Int64
	count [counters]atomic.Int64

	mu    sync.Mutex
	tally Tally

	tell      func(Progress)
	silent    atomic.Bool
	telling   sync.Mutex // for progress, but what the bytes tell, and comparing
	progress  Progress
	comparing int64 // bytes that a verification has to read
	compared  atomic.Int64

	// Findings is for whoever carries the copy out, and no one else at a time.
	Findings
	began time.Time
	cpu   time.Duration
}

// Findings are what a copy finds out of itself besides.
type Findings struct {
	// Verified is how the copy was verified.
	Verified Verify
	// Frozen is for how long the source stood still, to the end.
	Frozen time.Duration
	// SourceChanged: the source was written to meanwhile, as was accepted.
	SourceChanged bool
	// SourceGrown is by how many bytes the source is longer than what was to be copied of it, which
	// was all.
	SourceGrown int64
}

// New begins to count, and tells the progress.
func New(tell func(Progress)) *Account {
	return &Account{
		tally: NewTally(), tell: tell, progress: Progress{Phase: PhaseScanning},
		Findings: Findings{Verified: VerifyNone}, began: time.Now(), cpu: cpuTime(),
	}
}

// Count adds to a counter.
func (a *Account) Count(c Counter, n int64) { a.count[c].Add(n) }

// Counted is the value of a counter.
func (a *Account) Counted(c Counter) int64 { return a.count[c].Load() }

// Add adds to the bytes of a fate.
func (a *Account) Add(f Fate, bytes int64) { a.bytes[f].Add(bytes) }

// Bytes are the bytes of a fate.
func (a *Account) Bytes(f Fate) int64 { return a.bytes[f].Load() }

// Tally notes by which method bytes were copied, and why not by another one.
func (a *Account) Tally(m Method, why remap.Reason, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tally.Add(m, why, bytes)
}

// Enter counts bytes that were copied by a method.
func (a *Account) Enter(m Method, why remap.Reason, bytes int64) {
	if bytes == 0 {
		return
	}
	a.Tally(m, why, bytes)
	a.Add(m.fate(), bytes)
	a.Tell()
}

// Withdraw takes back what was entered.
func (a *Account) Withdraw(m Method, why remap.Reason, bytes int64) {
	a.Tally(m, why, -bytes)
	a.Add(m.fate(), -bytes)
}
