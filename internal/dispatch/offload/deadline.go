package offload

import (
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// A hold ends by itself if nobody extends it, and nobody does while the process is
// stopped, or frozen, or does not get to run. When it goes on, the layout can be another
// one. So no command is begun without a look at the clock, which is the last thing that
// happens before the system call (internal/boottime).

// spare is what has to be left of a hold when a command is begun: time to get from the
// look at the clock to the disk, and to be carried out there if nobody extends the hold
// meanwhile.
const spare = time.Second

// notAfter is the moment after which no command is begun under a hold.
func notAfter(held hold.Held) boottime.Limit {
	return func() boottime.Instant { return held.Deadline().Add(-spare) }
}

// postpone counts what was not begun because the hold was about to end, and returns why, if
// there is anything.
func (o *Offloader) postpone(results results) remap.Reason {
	var bytes int64
	for _, res := range results {
		bytes += res.postponed
	}
	if bytes == 0 {
		return ""
	}
	o.account.Count(account.Postponed, bytes)
	o.log.Info("the hold was about to end: the rest of the window is planned again", "bytes", bytes)
	return plan.ReasonHoldExpired
}

// unbegun tells whether a part of a window that was not copied is planned again,
// instead of being copied through the host: it was not begun because the window was cut
// short, or because its hold was about to end. What the host has a part of is not cut in
// zones, which are written from the front to the end, and not where nothing has proven
// what has been copied of it.
func (o *Offloader) unbegun(a copydomain.Action, wasCut, proven bool) bool {
	switch a {
	case copydomain.ActionCanceled:
		return wasCut
	case copydomain.ActionExpired:
		return proven && !o.opts.InOrder
	}
	return false
}
