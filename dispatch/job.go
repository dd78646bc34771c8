package dispatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/record"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
)

// Job is what to copy.
type Job struct {
	Src, Dst ends.Endpoint
	// Ranges are copied in the order given. They must not overlap on the
	// destination.
	Ranges []byterange.Range
	keeper *Volume // of what holds the destination; nil if it does not stay open
}

// Between is a job between volumes that stay open.
func Between(src, dst *Volume, ranges ...byterange.Range) Job {
	return Job{Src: src.Endpoint, Dst: dst.Endpoint, Ranges: ranges, keeper: dst}
}

// Options are how to copy. The zero value of each field means its default.
type Options struct {
	Offload plan.Policy    // default OffloadAuto
	Hold    hold.Mode      // default hold.Auto
	Verify  account.Verify // default account.VerifyNone
	// Sparse makes runs of zeroes in what is copied through the host be
	// written as zeroes by the device.
	Sparse bool
	// Prime writes a little to every block that a thin destination has no place
	// for, so that disks can copy to it.
	Prime bool
	// Window is the most that is held, issued and released at once, in
	// bytes; default DefaultWindow. Windows shrink by themselves so that none
	// holds for longer than about three quarters of a second.
	Window int64
	// InFlight is the number of commands in flight per leaf and of transfers
	// in flight through the host; default 8.
	InFlight int
	Waits
	Pacing
	// OnError says what to do about sectors that cannot be read; default
	// hostcopy.OnErrorStop.
	OnError hostcopy.OnError
	// LiveSource says that the source changes while it is copied, so that it
	// is no sign of anything if it did between two runs.
	LiveSource bool
	// Freeze has the file system of the source stand still until all of it was
	// read; it may be nil. See [FreezeSource].
	Freeze func(context.Context) (ends.Frozen, error)
	Journaling
	// Progress is told what happens; it may be nil and should be quick.
	Progress func(account.Progress)
	// Log may be nil.
	Log *slog.Logger
}

// Waits are for how long a copy waits for others, and who is told when it waits for longer.
type Waits struct {
	// CommandTimeout bounds one command; default 30 s.
	CommandTimeout time.Duration
	// Patience bounds every wait for others: locks, suspended devices, a
	// layout that keeps changing; default [DefaultPatience].
	Patience time.Duration
	// Waiting is told what a copy waits for that does not end although ctx has
	// ended; it may be nil.
	Waiting func([]inflight.Call)
	// GiveUp is closed when such a copy is not waited for any longer; it may be nil.
	GiveUp <-chan struct{}
}

// Pacing is how fast a copy goes.
type Pacing struct {
	// Rate is how many bytes a second are copied or verified; it may be
	// different each time. Nil is [pace.Unlimited].
	Rate func() int64
	// Nice has the copy give way to others who use its disks; nil has it not.
	Nice *pace.Nice
}

// Journaling is how a copy can be gone on with.
type Journaling struct {
	// Journal keeps what was done; it may be nil. It holds what earlier runs
	// of the same job have done, if there were any.
	Journal record.Journal
	// JournalEvery is how much time lies at least between two flushes of the
	// destination for it. Default is none: all that is lost in a crash is the
	// window that was under way.
	JournalEvery time.Duration
}

// DefaultWindow is the window in bytes unless Options say otherwise.
const DefaultWindow = window.DefaultSize

func (o Options) withDefaults() Options {
	if o.Offload == "" {
		o.Offload = plan.OffloadAuto
	}
	if o.Hold == "" {
		o.Hold = hold.Auto
	}
	if o.Verify == "" {
		o.Verify = account.VerifyNone
	}
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	o.Window = window.Fit(o.Window)
	if o.InFlight == 0 {
		o.InFlight = 8
	}
	if o.CommandTimeout == 0 {
		o.CommandTimeout = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = ends.DefaultPatience
	}
	if o.Rate == nil {
		o.Rate = func() int64 { return pace.Unlimited }
	}
	if o.OnError == "" {
		o.OnError = hostcopy.OnErrorStop
	}
	if o.Progress == nil {
		o.Progress = func(account.Progress) {}
	}
	if o.Waiting == nil {
		o.Waiting = func([]inflight.Call) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// request is for the plan of a job.
func (o Options) request(src, dst ends.Endpoint, trust *plan.Trust) plan.Request {
	return plan.Request{Src: src, Dst: dst, Policy: o.Offload, Hold: o.Hold, Prime: o.Prime, Trust: trust}
}
