package dispatch

import (
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// A hold ends by itself if nobody extends it, and nobody does while the process is
// stopped, or frozen, or does not get to run. When it goes on, the layout can be another
// one. So no command is begun without a look at the clock, which is the last thing that
// happens before the system call (internal/boottime).

// ReasonHoldExpired: too little was left of the hold to begin a command.
const ReasonHoldExpired remap.Reason = "hold:expired"

// spare is what has to be left of a hold when a command is begun: time to get from the
// look at the clock to the disk, and to be carried out there if nobody extends the hold
// meanwhile.
const spare = time.Second

// notAfter is the moment after which no command is begun under a hold.
func notAfter(held hold.Held) boottime.Limit {
	return func() boottime.Instant { return held.Deadline().Add(-spare) }
}

// notAfter is that of the batch that is being issued. Without one nothing is begun.
func (st *pairState) notAfter() boottime.Instant {
	b := st.allowed.Load()
	if b == nil {
		return 0
	}
	return b.notAfter.Instant()
}

// postpone counts what was not begun because the hold was about to end.
func (r *run) postpone(results []issued) {
	var bytes int64
	for _, res := range results {
		bytes += res.postponed
	}
	if bytes == 0 {
		return
	}
	r.stats.postponed += bytes
	r.barrenWhy = ReasonHoldExpired
	r.log.Info("the hold was about to end: the rest of the window is planned again", "bytes", bytes)
}

// unbegun tells whether a part of a window that was not copied is planned again,
// instead of being copied through the host: it was not begun because the window was cut
// short, or because its hold was about to end. What the host has a part of is not cut in
// zones, which are written from the front to the end, and not where nothing has proven
// what has been copied of it.
func (r *run) unbegun(v copydomain.Verdict, wasCut, proven bool) bool {
	switch v {
	case copydomain.Canceled:
		return wasCut
	case copydomain.Expired:
		return proven && r.zones.zoner == nil
	}
	return false
}
