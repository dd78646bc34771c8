package dispatch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// reasonUnmapped: a thin volume has no block there until it is written.
const reasonUnmapped remap.Reason = "layer:thin-unmapped"

// primeBytes is how much of every block is copied ahead of time.
const primeBytes = 4096

// prime copies the beginning of every block for which a thin destination has no
// place, so that the pool gives it one, and plans again: what is read of the
// pool then shows the new blocks. Where that leads to nothing, all is copied
// through the host, as it would have been anyway.
func (r *run) prime(ctx context.Context) error {
	granule := r.plan.granule()
	if !r.opts.Prime || granule == 0 {
		return nil
	}
	r.phase(PhasePriming)
	var failed error
	heads := func(yield func(emulation.Op) bool) {
		for s, err := range r.plan.steps(ctx, r.pending) {
			if err != nil {
				failed = err
				return
			}
			if !s.primable() {
				continue
			}
			for op := range headsOf(s, granule.Bytes()) {
				r.primed += op.Len
				if !yield(op) {
					return
				}
			}
		}
	}
	result, err := r.engine.Copy(ctx, r.job.Src.Device, r.job.Dst.Device, heads, emulation.Observer{})
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx)
	case failed != nil || err != nil:
		return wrap("prime", errors.Join(failed, err, r.meanwhile(ctx)))
	case r.primed == 0:
		return nil
	}
	// What cannot be read will be met again.
	if err := lost(slices.DeleteFunc(result.Failures, r.bearable)); err != nil {
		return wrap("prime", errors.Join(err, r.meanwhile(ctx)))
	}
	return r.primedPlan(ctx)
}

// primedPlan makes the plan that has the new blocks. The pool shows what it has
// committed, which a flush sees to (drivers/md/dm-thin.c, process_deferred_bios).
func (r *run) primedPlan(ctx context.Context) error {
	if err := r.job.Dst.Device.Flush(); err != nil {
		return wrap("flush", err)
	}
	if err := r.d.machine.Renew(); err != nil {
		return wrap("plan", fmt.Errorf("metadata snapshots of thin pools: %w", err))
	}
	p, err := r.settle(ctx)
	if err != nil {
		return err
	}
	p.prime = false
	if _, err := p.look(ctx, r.pending); err != nil {
		return wrap("plan", err)
	}
	r.adopt(p)
	return nil
}

// headsOf are the operations that touch every granule of a step: from its
// beginning on in strides of a granule, and at its end, which can be in one more.
func headsOf(s *Step, granule int64) iter.Seq[emulation.Op] {
	return func(yield func(emulation.Op) bool) {
		end := int64(0) // of what is touched
		for off := int64(0); off < s.Len; off += granule {
			end = min(off+primeBytes, s.Len)
			if !yield(s.op(off, end)) {
				return
			}
		}
		if tail := max(s.Len-primeBytes, end); tail < s.Len {
			yield(s.op(tail, s.Len))
		}
	}
}

// op copies a part of the step.
func (s *Step) op(start, end int64) emulation.Op {
	return emulation.Op{Src: s.SrcOff + start, Dst: s.DstOff + start, Len: end - start}
}

// primable tells whether all that a step lacks is a block of a thin volume.
func (s *Step) primable() bool { return s.Reason == reasonUnmapped && s.SrcLeaf != nil }

// granule is the smallest unit in which thin volumes of the destination are
// given blocks, in sectors; 0 if there is none below which anything could be
// offloaded, or nothing is to be primed.
func (p *plan) granule() remap.Sector {
	if !p.prime || p.stack == nil || p.hold == hold.None {
		return 0
	}
	var least remap.Sector
	for _, n := range p.stack.Under(p.dst.Dev) {
		if p.hold != hold.Trust && lockless(n) {
			continue
		}
		if n.Granule > 0 && (least == 0 || n.Granule < least) {
			least = n.Granule
		}
	}
	return least
}
