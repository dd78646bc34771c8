package account

import "github.com/dmcopy/dmcopy/remap"

// Phase is what a copy is doing.
type Phase string

const (
	PhaseFreezing   Phase = "freezing"
	PhaseScanning   Phase = "scanning"
	PhasePriming    Phase = "priming"
	PhaseCopying    Phase = "copying"
	PhaseFlushing   Phase = "flushing"
	PhaseVerifying  Phase = "verifying"
	PhaseRefreshing Phase = "waiting for the layout"
)

// Progress is a moment of a copy, in bytes.
type Progress struct {
	Phase Phase
	Total int64
	// Done is what was copied, was found to be done, or was blanked because it could
	// not be read.
	Done int64
	// Resumed is the part of Done that earlier runs have done.
	Resumed   int64
	Offloaded int64
	Host      int64
	Zeroed    int64
}

// ReasonResumed: an earlier run of the copy has done it.
const ReasonResumed remap.Reason = "state:done"

// SetTotal says how many bytes there are to be copied.
func (a *Account) SetTotal(bytes int64) { a.change(func(p *Progress) { p.Total = bytes }) }

// Resume counts what earlier runs have done.
func (a *Account) Resume(bytes int64) {
	a.Tally(Skip, ReasonResumed, bytes)
	a.Add(Skipped, bytes)
	a.change(func(p *Progress) { p.Resumed = bytes })
}

// SetPhase says what the copy does from now on.
func (a *Account) SetPhase(phase Phase) {
	a.change(func(p *Progress) { p.Phase = phase })
	a.Tell()
}

// Verifying begins a comparison of so many bytes, and Compared says how far it came.
func (a *Account) Verifying(bytes int64) {
	a.compared.Store(0)
	a.change(func(p *Progress) { p.Phase, a.comparing = PhaseVerifying, bytes })
	a.Tell()
}

// Compared counts bytes of the comparison that is under way.
func (a *Account) Compared(bytes int64) {
	a.compared.Add(bytes)
	a.Tell()
}

func (a *Account) change(f func(*Progress)) {
	a.telling.Lock()
	defer a.telling.Unlock()
	f(&a.progress)
}

// Silence ends telling: nobody waits for the copy any more.
func (a *Account) Silence() { a.silent.Store(true) }

// Tell tells how far the copy has come.
func (a *Account) Tell() {
	if !a.silent.Load() {
		a.tell(a.now())
	}
}

func (a *Account) now() Progress {
	a.telling.Lock()
	p, comparing := a.progress, a.comparing
	a.telling.Unlock()
	p.Offloaded, p.Host, p.Zeroed = a.Bytes(Offloaded), a.Bytes(ByHost), a.Bytes(Zeroed)
	p.Done = p.Offloaded + p.Host + p.Zeroed + a.Bytes(Skipped) + a.Bytes(Failed)
	if p.Phase == PhaseVerifying {
		p.Total, p.Done, p.Resumed = comparing, a.compared.Load(), 0
	}
	return p
}

func (a *Account) total() int64 {
	a.telling.Lock()
	defer a.telling.Unlock()
	return a.progress.Total
}
