package dispatch

import (
	"context"
	"errors"
	"iter"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// Engine carries out copies on one machine, any number of them at a time. What it has found out
// of the machine outlives a copy: which pairs of leaves do what they say, which do not, and
// which disks of one name are different ones. With volumes that stay open ([Engine.Open]), the
// next copy between them starts no process, identifies no disk and proves nothing again.
type Engine struct {
	machine machine.Machine
	proofs  *plan.Proofs
}

// New returns an engine. The machine is the caller's, who closes it afterwards.
func New(m machine.Machine) *Engine {
	epoch := func(leaf *remap.Node) copydomain.Epoch { return m.Epoch(leaf) }
	return &Engine{machine: m, proofs: plan.NewProofs(epoch)}
}

// Copy carries out the job and reports what became of every byte. The report
// comes with an error, too, if anything was begun; it is nil if nothing was. If
// the error is an [inflight.Stuck], the ends of the job are still in use.
func (e *Engine) Copy(ctx context.Context, job Job, opts Options) (*account.Report, error) {
	r, err := e.newRun(job, opts)
	if err != nil {
		return nil, err
	}
	report, err := inflight.Run(ctx, r.calls, r.inflightOptions(), func() (*account.Report, error) { return r.whole(ctx) })
	if errors.Is(err, inflight.ErrStuck) {
		report = r.lastReport(err)
	}
	return report, err
}

// Check refuses what Copy would refuse because of the plan, and writes nothing.
// Whether the layout can be held shows only when it is done.
func (e *Engine) Check(ctx context.Context, job Job, opts Options) error {
	r, err := e.newRun(job, opts)
	if err != nil {
		return err
	}
	if err = r.dest.files.CheckLocks(r.job.Ranges); err == nil {
		_, err = r.survey(ctx)
	}
	return errors.Join(err, r.close())
}

// Verify compares source and destination of the job through the top.
func (e *Engine) Verify(ctx context.Context, job Job, opts Options) (emulation.Comparison, error) {
	r, err := e.newRun(job, opts)
	if err != nil {
		return emulation.Comparison{}, err
	}
	if err := r.dest.files.LockToRead(); err != nil {
		return emulation.Comparison{}, errors.Join(err, r.close())
	}
	return inflight.Run(ctx, r.calls, r.inflightOptions(), func() (emulation.Comparison, error) {
		found, err := r.verifier.compare(ctx, r.job.Ranges)
		return found, errors.Join(err, r.close())
	})
}

// Plan tells what a copy would do, piece by piece and in order, without
// writing anything. The step is reused.
func (e *Engine) Plan(ctx context.Context, job Job, opts Options) iter.Seq2[*plan.Step, error] {
	return func(yield func(*plan.Step, error) bool) {
		ranges, err := ends.Ranges(job.Src, job.Dst, job.Ranges)
		if err != nil {
			yield(nil, err)
			return
		}
		src, dst := plan.Numbered(job.Src, job.Dst)
		p, err := plan.New(ctx, e.machine, opts.withDefaults().request(src, dst, e.proofs.Trust()))
		if err != nil {
			yield(nil, failure.During("plan", err))
			return
		}
		for step, err := range p.Steps(ctx, plan.InSectors(src, dst, ranges)) {
			if !yield(step, failure.During("plan", err)) {
				return
			}
		}
	}
}
