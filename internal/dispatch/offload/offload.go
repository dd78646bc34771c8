package offload

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/proof"
	"github.com/dmcopy/dmcopy/internal/dispatch/track"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// Options say how commands are issued.
type Options struct {
	// Src and Dst are the devices that are copied between.
	Src, Dst remap.Dev
	Hold     hold.Mode
	// InFlight is the number of commands in flight for each pair, and Timeout bounds one.
	InFlight int
	Timeout  time.Duration
	// Patience bounds the wait for a hold.
	Patience time.Duration
	// InOrder: what is written is written from the front to the end, so that nothing is
	// left out of a window.
	InOrder bool
}

// Offloader has devices carry out windows of one copy.
type Offloader struct {
	opts    Options
	machine machine.Machine
	holder  machine.Holder
	layout  *track.Layout
	prover  *proof.Prover
	trust   *plan.Trust
	account *account.Account
	log     *slog.Logger
	pairs   map[plan.Key]*pairState
}

// New returns what offloads under the holds of a holder.
func New(opts Options, m machine.Machine, holder machine.Holder, layout *track.Layout, prover *proof.Prover, trust *plan.Trust, counts *account.Account, log *slog.Logger) *Offloader {
	return &Offloader{
		opts: opts, machine: m, holder: holder, layout: layout, prover: prover, trust: trust, account: counts, log: log,
		pairs: make(map[plan.Key]*pairState),
	}
}

// Outcome is what became of the steps of a window.
type Outcome struct {
	// Begun: commands were issued, or nothing has to be. Otherwise the plan is stale, and
	// nothing has happened.
	Begun bool
	// Why is the reason of what was not begun, for when it does not get better.
	Why remap.Reason
	// Redo are the steps that the host has to do.
	Redo []plan.Step
	// Unbegun was left out, and is planned again.
	Unbegun []byterange.Range
	// Stale: the layout changed after the first command, and nothing counts.
	Stale bool
	// Offloaded are the bytes that count, and Held for how long they took.
	Offloaded int64
	Held      time.Duration
}

// holdWait bounds the wait for one hold. Somebody who changes the layout is
// usually done sooner; if not, the plan is made again.
const holdWait = time.Second

// Carry issues the steps of a window under a hold. What was not begun is taken out of them.
func (o *Offloader) Carry(ctx context.Context, steps window.Offload) (Outcome, error) {
	held, err := o.holder.Hold(ctx, steps.Request(o.layout.Plan().Stack, min(holdWait, o.opts.Patience)))
	switch {
	case errors.Is(err, hold.ErrContended):
		o.log.Info("waiting for a change of the layout", "error", err)
		return Outcome{Why: plan.ReasonHoldContended}, nil
	case errors.Is(err, hold.ErrSlow):
		o.log.Info("the destination is not held", "error", err)
		return Outcome{Begun: true, Redo: o.FallBack(steps, plan.ReasonHoldSlow)}, nil
	case err != nil:
		o.log.Info("the destination is not held", "error", err)
		return Outcome{Begun: true, Redo: o.FallBack(steps, plan.ReasonHoldUnavailable)}, nil
	}
	out, err := o.underHold(ctx, held, steps)
	if releaseErr := held.Release(); releaseErr != nil {
		o.log.Warn("release of the hold", "error", releaseErr)
	}
	return out, err
}

// FallBack sends all steps through the host, none having been issued.
func (o *Offloader) FallBack(steps window.Offload, why remap.Reason) []plan.Step {
	o.account.Count(account.Fallbacks, 1)
	return steps.ToHost(why)
}

// Close ends the use of disks and files, after the last flush.
func (o *Offloader) Close() error {
	var errs []error
	for _, st := range o.pairs {
		errs = append(errs, st.copier.Close())
	}
	return errors.Join(errs...)
}

// Flush flushes every disk that commands have written. Of several paths to
// one disk, one that works is enough: what is flushed is the disk.
func (o *Offloader) Flush(ctx context.Context) error {
	flushed := make(map[string]bool)
	failed := make(map[string]error)
	for _, st := range o.pairs {
		if err := st.copier.Flush(ctx); err != nil {
			failed[st.disk] = errors.Join(failed[st.disk], err)
		} else {
			flushed[st.disk] = true
		}
	}
	var errs []error
	for disk, err := range failed {
		if !flushed[disk] {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
