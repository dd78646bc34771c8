package dispatch

import (
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/record"
)

// What a program that copies names. The types are those of the packages that do the work, which
// no other program can import.
type (
	// Endpoint is an opened source or destination.
	Endpoint = ends.Endpoint
	// OpenOptions say what is acceptable as an end of a copy.
	OpenOptions = ends.OpenOptions
	// Frozen is a file system that stands still.
	Frozen = ends.Frozen
	// Range is a run of bytes to copy.
	Range = byterange.Range
	// Machine is what a copy needs of a machine; [Local] is the one there is.
	Machine = machine.Machine

	// Policy says what is offloaded.
	Policy = plan.Policy
	// HoldMode says what holds the layout of a mapped destination.
	HoldMode = hold.Mode
	// Verify says what is compared afterwards.
	Verify = account.Verify
	// OnError says what to do about sectors that cannot be read.
	OnError = hostcopy.OnError
	// Nice has a copy give way to others.
	Nice = pace.Nice
	// Journal keeps what was done.
	Journal = record.Journal

	// Step is a piece of a plan.
	Step = plan.Step
	// Progress is what a copy has done so far.
	Progress = account.Progress
	// Report says what became of every byte.
	Report = account.Report
	// Call is a call into the kernel that is under way.
	Call = inflight.Call
	// Refusal says what is refused, why, and what to do about it.
	Refusal = failure.Refusal
)

// Values of [Options].
const (
	OffloadAuto    = plan.OffloadAuto
	OffloadRequire = plan.OffloadRequire
	OffloadNever   = plan.OffloadNever

	HoldAuto  = hold.Auto
	HoldTrust = hold.Trust
	HoldNone  = hold.None

	VerifyNone   = account.VerifyNone
	VerifySample = account.VerifySample
	VerifyFull   = account.VerifyFull

	OnErrorStop     = hostcopy.OnErrorStop
	OnErrorContinue = hostcopy.OnErrorContinue
)

// How a copy can end other than well, for [errors.Is].
var (
	ErrRefused       = failure.ErrRefused
	ErrUsage         = failure.ErrUsage
	ErrPolicy        = failure.ErrPolicy
	ErrLayout        = failure.ErrLayout
	ErrMismatch      = failure.ErrMismatch
	ErrFenced        = failure.ErrFenced
	ErrUnread        = failure.ErrUnread
	ErrSourceChanged = failure.ErrSourceChanged
	ErrTaken         = failure.ErrTaken
	ErrInterrupted   = failure.ErrInterrupted
	ErrThawed        = failure.ErrThawed
	ErrStuck         = inflight.ErrStuck
)
