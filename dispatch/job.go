package dispatch

import (
	"context"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/dmcopy/dmcopy/dispatch/freeze"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// Range is a run of bytes to copy.
type Range struct {
	Src, Dst int64 // byte offsets
	Len      int64 // bytes
}

// Follow, for an offset of a range, is where the range before it ended, or 0 for the first
// one: see [Ranges].
const Follow = math.MinInt64

// Endpoint is an opened source or destination.
type Endpoint struct {
	// Name is what the user typed.
	Name string
	// Dev is the block device; zero for a regular file.
	Dev remap.Dev
	// File is where a regular file is; nil for a block device.
	File *remap.Storage
	// Device reads and writes through the top.
	Device emulation.Device
	// Zones tells the zones of a device that is written in order, and is nil for any
	// other.
	Zones Zoner
	// Holes tells where a regular file has holes, and is nil where that is not known.
	Holes Holer
	// storage is the ID of what a loop device is stored in, if it is known.
	storage string
	// mounted is the file system on it, if that is to be frozen.
	mounted *freeze.FileSystem
	// made is the file that was created to be this end, draft one without a name that
	// stands for it in a plan.
	made  *madeFile
	draft io.Closer
	// claims keep others from using it; nil if it is not claimed.
	claims *claims
}

// storedIn tells whether the end is a loop device on the other end.
func (e Endpoint) storedIn(o Endpoint) bool { return e.storage != "" && e.storage == o.Device.ID() }

// Job is what to copy.
type Job struct {
	Src, Dst Endpoint
	// Ranges are copied in the order given. They must not overlap on the
	// destination.
	Ranges []Range
}

// Policy says whether to offload.
type Policy string

const (
	// OffloadAuto offloads what can be offloaded and copies the rest.
	OffloadAuto Policy = "auto"
	// OffloadRequire fails with ErrPolicy instead of copying through the host.
	OffloadRequire Policy = "require"
	// OffloadNever copies everything through the host.
	OffloadNever Policy = "never"
)

// Verify says what to compare after the copy.
type Verify string

const (
	VerifyNone   Verify = "none"
	VerifySample Verify = "sample"
	VerifyFull   Verify = "full"
)

// Options are how to copy. The zero value of each field means its default.
type Options struct {
	Offload Policy    // default OffloadAuto
	Hold    hold.Mode // default hold.Auto
	Verify  Verify    // default VerifyNone
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
	// CommandTimeout bounds one command; default 30 s.
	CommandTimeout time.Duration
	// Patience bounds every wait for others: locks, suspended devices, a
	// layout that keeps changing; default [DefaultPatience].
	Patience time.Duration
	// Rate is how many bytes a second are copied or verified; it may be
	// different each time. Nil is Unlimited.
	Rate func() int64
	// Nice has the copy give way to others who use its disks; nil has it not.
	Nice *Nice
	// OnError says what to do about sectors that cannot be read; default
	// OnErrorStop.
	OnError OnError
	// LiveSource says that the source changes while it is copied, so that it
	// is no sign of anything if it did between two runs.
	LiveSource bool
	// Freeze has the file system of the source stand still until all of it was
	// read; it may be nil. See [FreezeSource].
	Freeze func(context.Context) (Frozen, error)
	// Journal keeps what was done; it may be nil. It holds what earlier runs
	// of the same job have done, if there were any.
	Journal Journal
	// JournalEvery is how much time lies at least between two flushes of the
	// destination for it. Default is none: all that is lost in a crash is the
	// window that was under way.
	JournalEvery time.Duration
	// Progress is told what happens; it may be nil and should be quick.
	Progress func(Progress)
	// Waiting is told what a copy waits for that does not end although ctx has
	// ended; it may be nil.
	Waiting func([]Call)
	// GiveUp is closed when such a copy is not waited for any longer; it may be nil.
	GiveUp <-chan struct{}
	// Log may be nil.
	Log *slog.Logger
}

// DefaultPatience is how long others are waited for unless Options say otherwise.
const DefaultPatience = 30 * time.Second

// DefaultWindow is the window in bytes unless Options say otherwise.
const DefaultWindow = 2 << 30

// maxWindow is where windows end anyway, in bytes: no disk copies as much in the time
// that a window may be held.
const maxWindow = 1 << 40

// windowUnit is what windows are rounded up to, in bytes.
const windowUnit = 64 << 10

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

func (o Options) withDefaults() Options {
	if o.Offload == "" {
		o.Offload = OffloadAuto
	}
	if o.Hold == "" {
		o.Hold = hold.Auto
	}
	if o.Verify == "" {
		o.Verify = VerifyNone
	}
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	// Whole units, so that no cut between two windows goes through a block.
	o.Window = (min(max(o.Window, 1), maxWindow) + windowUnit - 1) &^ (windowUnit - 1)
	if o.InFlight == 0 {
		o.InFlight = 8
	}
	if o.CommandTimeout == 0 {
		o.CommandTimeout = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Rate == nil {
		o.Rate = func() int64 { return Unlimited }
	}
	if o.OnError == "" {
		o.OnError = OnErrorStop
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Waiting == nil {
		o.Waiting = func([]Call) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}
