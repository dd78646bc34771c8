package dispatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
)

// prime copies the beginning of every block for which a thin destination has no
// place, so that the pool gives it one, and plans again: what is read of the
// pool then shows the new blocks. Where that leads to nothing, all is copied
// through the host, as it would have been anyway.
func (w *windows) prime(ctx context.Context, pending []byterange.Range) error {
	granule := w.layout.Plan().Granule()
	if !w.opts.Prime || granule == 0 {
		return nil
	}
	w.account.SetPhase(account.PhasePriming)
	var failed error
	err := w.host.Prime(ctx, func(yield func(emulation.Op) bool) {
		for s, err := range w.layout.Plan().Steps(ctx, pending) {
			if err != nil {
				failed = err
				return
			}
			if !s.Primable() {
				continue
			}
			for op := range plan.GranuleHeads(s, granule.Bytes()) {
				w.account.Count(account.Primed, op.Len)
				if !yield(op) {
					return
				}
			}
		}
	})
	switch {
	case ctx.Err() != nil:
		return failure.Interrupted(ctx)
	case failed != nil || err != nil:
		return failure.During("prime", errors.Join(failed, err))
	case w.account.Counted(account.Primed) == 0:
		return nil
	}
	return w.primed(ctx, pending)
}

// primed makes the plan that has the new blocks. The pool shows what it has
// committed, which a flush sees to (drivers/md/dm-thin.c, process_deferred_bios).
func (w *windows) primed(ctx context.Context, pending []byterange.Range) error {
	if err := w.job.Dst.Device.Flush(); err != nil {
		return failure.During("flush", err)
	}
	if err := w.machine.Renew(); err != nil {
		return failure.During("plan", fmt.Errorf("metadata snapshots of thin pools: %w", err))
	}
	p, err := w.layout.Settle(ctx)
	if err != nil {
		return err
	}
	p.Prime = false
	if _, err := p.Survey(ctx, pending); err != nil {
		return failure.During("plan", failure.TooLate(err))
	}
	w.follow(p)
	return nil
}
