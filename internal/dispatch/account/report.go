package account

import (
	"errors"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// Schema is the version of the JSON forms of Report and Plan.
const Schema = 1

// Verify says what to compare after the copy.
type Verify string

const (
	VerifyNone   Verify = "none"
	VerifySample Verify = "sample"
	VerifyFull   Verify = "full"
)

// Outcome of a copy.
type Outcome string

const (
	OutcomeOK         Outcome = "ok"
	OutcomeIncomplete Outcome = "incomplete"
	OutcomeFailed     Outcome = "failed"
)

// Report says what became of every byte. Always
// Total = Offloaded + Host + Zeroed + Skipped once the result is "ok", and the
// same with Failed if all of the copy was tried.
type Report struct {
	Schema int     `json:"schema"`
	Result Outcome `json:"result"`
	Totals
	Bad           []Bad            `json:"bad"`
	Commands      int64            `json:"commands"`
	ByMethod      map[Method]int64 `json:"by_method"`
	Reasons       []ReasonBytes    `json:"reasons"`
	Windows       int64            `json:"windows"`
	LayoutChanges int64            `json:"layout_changes"`
	Rework
	SourceState
	// Unwritten names devices whose page caches this process may not write back: what was
	// written to them, and not yet to disk, may be missing in the copy.
	Unwritten []string `json:"caches_unwritten,omitempty"`

	Verified Verify `json:"verified"`
	Cost
	Errors []string `json:"errors"`
}

// Totals are numbers of bytes by what became of them.
type Totals struct {
	Total     int64 `json:"bytes_total"`
	Offloaded int64 `json:"bytes_offloaded"`
	Host      int64 `json:"bytes_host"`
	Zeroed    int64 `json:"bytes_zeroed"`
	Skipped   int64 `json:"bytes_skipped"`
	// Failed counts bytes that could not be read, which Bad lists.
	Failed int64 `json:"bytes_failed"`
}

// Rework is what was done more than once, or besides.
type Rework struct {
	// Moved counts bytes that were done when the destination was moved below them, so
	// that they were compared, if only in samples; each time counts. Recopied counts
	// bytes that were copied again because something was different.
	Moved    int64 `json:"moved_bytes,omitempty"`
	Recopied int64 `json:"recopied_bytes,omitempty"`
	// Primed counts bytes that were copied through the host ahead of time, so
	// that a thin destination has blocks there. They are copied once more.
	Primed int64 `json:"primed_bytes,omitempty"`
	// ReadBack counts bytes that were read of disks, at either end, for proofs that they
	// copy what they say.
	ReadBack int64 `json:"bytes_read_back"`
	// Redone counts bytes that were issued to a device and then copied
	// through the host; Fallbacks counts the times that this happened.
	Redone    int64 `json:"redone_bytes"`
	Fallbacks int64 `json:"fallbacks"`
	// Postponed counts bytes that were left out of a window because its hold was about
	// to end, and planned again.
	Postponed int64 `json:"postponed_bytes,omitempty"`
	// Backoffs counts how often the copy gave way to others, by half of its rate.
	Backoffs int64 `json:"backoffs,omitempty"`
}

// SourceState is what was seen of the source.
type SourceState struct {
	// Frozen is for how many seconds the file system of the source stood still. It
	// is 0 unless it did until all of it was read: the copy is one of that moment.
	Frozen float64 `json:"frozen_seconds,omitempty"`
	// SourceChanged: a source file, or one that the source is stored in, was written to while it
	// was copied, as was accepted.
	SourceChanged bool `json:"source_changed,omitempty"`
	// SourceGrown is by how many bytes the source became longer while it was copied to its end.
	SourceGrown int64 `json:"source_grown_bytes,omitempty"`
}

// Cost is the time that it took.
type Cost struct {
	Seconds float64 `json:"duration_seconds"`
	CPU     float64 `json:"cpu_seconds"`
}

// Bad is a part of the source that could not be read. Its place on the
// destination holds zeroes: neither what happened to be there before, which could
// be taken for the data, nor a mixture that depends on how it was read.
type Bad struct {
	Src int64  `json:"src_offset"`
	Dst int64  `json:"dst_offset"`
	Len int64  `json:"length"`
	Why string `json:"error"`
}

// Report sums up, with what could not be read, and why the copy has ended, if it has not
// ended well.
func (a *Account) Report(bad []Bad, err error) *Report {
	a.mu.Lock()
	reasons := a.tally.Sorted()
	a.mu.Unlock()
	rep := &Report{
		Schema: Schema, Result: OutcomeOK, Totals: Totals{Total: a.total(), Offloaded: a.Bytes(Offloaded), Host: a.Bytes(ByHost), Zeroed: a.Bytes(Zeroed), Skipped: a.Bytes(Skipped), Failed: a.Bytes(Failed)},
		Bad: append([]Bad{}, bad...), Commands: a.Counted(Commands), ByMethod: a.byMethod(), Reasons: reasons,
		Windows: a.Counted(Windows), LayoutChanges: a.Counted(LayoutChanges), Rework: Rework{Moved: a.Counted(Moved), Recopied: a.Counted(Recopied), Primed: a.Counted(Primed), ReadBack: a.Counted(ReadBack), Redone: a.Counted(Redone), Postponed: a.Counted(Postponed), Fallbacks: a.Counted(Fallbacks), Backoffs: a.Counted(Backoffs)},
		SourceState: SourceState{SourceChanged: a.SourceChanged, SourceGrown: a.SourceGrown, Frozen: a.Frozen.Seconds()}, Verified: a.Verified, Errors: []string{},
	}
	a.spend(rep)
	rep.fail(err)
	return rep
}

// Last is the report of a copy that was left behind, of which no more counts than what a
// report said before.
func (a *Account) Last(before *Report, err error) *Report {
	rep := *before
	rep.Errors = nil
	a.spend(&rep)
	rep.fail(err)
	return &rep
}

// spend enters the time that was spent until now.
func (a *Account) spend(rep *Report) {
	rep.Seconds, rep.CPU = time.Since(a.began).Seconds(), (cpuTime() - a.cpu).Seconds()
}

// fail enters why the copy has ended, if it has not ended well.
func (rep *Report) fail(err error) {
	if err == nil {
		return
	}
	rep.Result = OutcomeFailed
	if errors.Is(err, failure.ErrInterrupted) || errors.Is(err, failure.ErrUnread) || errors.Is(err, failure.ErrThawed) {
		rep.Result = OutcomeIncomplete
	}
	rep.Errors = append(rep.Errors, err.Error())
}

// byMethod is what was done, as opposed to what was planned: runs of zeroes
// that the host found are zeroed, not copied.
func (a *Account) byMethod() map[Method]int64 {
	methods := make(map[Method]int64)
	a.mu.Lock()
	for m, bytes := range a.tally.Methods {
		if m.Offloads() && bytes > 0 { // all of it can have been done again
			methods[m] = bytes
		}
	}
	a.mu.Unlock()
	for _, m := range []Method{Host, Zero, Skip} {
		if bytes := a.Bytes(m.fate()); bytes > 0 {
			methods[m] = bytes
		}
	}
	return methods
}
