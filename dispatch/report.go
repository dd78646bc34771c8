package dispatch

import (
	"cmp"
	"maps"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// Schema is the version of the JSON forms of Report and Plan.
const Schema = 1

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
	Schema    int     `json:"schema"`
	Result    Outcome `json:"result"`
	Total     int64   `json:"bytes_total"`
	Offloaded int64   `json:"bytes_offloaded"`
	Host      int64   `json:"bytes_host"`
	Zeroed    int64   `json:"bytes_zeroed"`
	Skipped   int64   `json:"bytes_skipped"`
	// Failed counts bytes that could not be read, which Bad lists.
	Failed        int64            `json:"bytes_failed"`
	Bad           []Bad            `json:"bad"`
	Commands      int64            `json:"commands"`
	ByMethod      map[Method]int64 `json:"by_method"`
	Reasons       []ReasonBytes    `json:"reasons"`
	Windows       int64            `json:"windows"`
	LayoutChanges int64            `json:"layout_changes"`
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
	// Frozen is for how many seconds the file system of the source stood still. It
	// is 0 unless it did until all of it was read: the copy is one of that moment.
	Frozen   float64  `json:"frozen_seconds,omitempty"`
	Verified Verify   `json:"verified"`
	Seconds  float64  `json:"duration_seconds"`
	CPU      float64  `json:"cpu_seconds"`
	Errors   []string `json:"errors"`
}

// ReasonBytes tells how many bytes were not offloaded for one reason.
type ReasonBytes struct {
	Reason remap.Reason `json:"reason"`
	Bytes  int64        `json:"bytes"`
}

// tally counts bytes by method and reason.
type tally struct {
	methods map[Method]int64
	reasons map[remap.Reason]int64
}

func newTally() tally {
	return tally{methods: make(map[Method]int64), reasons: make(map[remap.Reason]int64)}
}

func (t tally) add(m Method, why remap.Reason, bytes int64) {
	t.methods[m] += bytes
	if why != "" {
		t.reasons[why] += bytes
	}
}

// sorted lists the reasons, the most bytes first.
func (t tally) sorted() []ReasonBytes {
	list := make([]ReasonBytes, 0, len(t.reasons))
	for _, why := range slices.Sorted(maps.Keys(t.reasons)) {
		list = append(list, ReasonBytes{why, t.reasons[why]})
	}
	slices.SortStableFunc(list, func(a, b ReasonBytes) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list
}
