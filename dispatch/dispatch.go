package dispatch

import (
	"context"
	"errors"
	"iter"

	"github.com/dmcopy/dmcopy/dispatch/account"
	"github.com/dmcopy/dmcopy/dispatch/ends"
	"github.com/dmcopy/dmcopy/dispatch/failure"
	"github.com/dmcopy/dmcopy/dispatch/inflight"
	"github.com/dmcopy/dmcopy/dispatch/machine"
	"github.com/dmcopy/dmcopy/dispatch/plan"
	"github.com/dmcopy/dmcopy/emulation"
)

// Dispatcher carries out copies on one machine.
type Dispatcher struct {
	machine machine.Machine
	opts    Options
}

// New returns a dispatcher.
func New(m machine.Machine, opts Options) *Dispatcher {
	return &Dispatcher{machine: m, opts: opts.withDefaults()}
}

// Copy carries out the job and reports what became of every byte. The report
// comes with an error, too, if anything was begun; it is nil if nothing was. If
// the error is an [inflight.Stuck], the ends of the job are still in use.
func (d *Dispatcher) Copy(ctx context.Context, job Job) (*account.Report, error) {
	r, err := d.newRun(job)
	if err != nil {
		return nil, err
	}
	report, err := inflight.Attend(ctx, r.calls, r.attention(), func() (*account.Report, error) { return r.whole(ctx) })
	if errors.Is(err, inflight.ErrStuck) {
		report = r.lastReport(err)
	}
	return report, err
}

// Check refuses what Copy would refuse because of the plan, and writes nothing.
// Whether the layout can be held shows only when it is done.
func (d *Dispatcher) Check(ctx context.Context, job Job) error {
	r, err := d.newRun(job)
	if err != nil {
		return err
	}
	if err = r.dest.files.CheckLocks(r.job.Ranges); err == nil {
		_, err = r.survey(ctx)
	}
	return errors.Join(err, r.close())
}

// Verify compares source and destination of the job through the top.
func (d *Dispatcher) Verify(ctx context.Context, job Job) (emulation.Comparison, error) {
	r, err := d.newRun(job)
	if err != nil {
		return emulation.Comparison{}, err
	}
	if err := r.dest.files.LockToRead(); err != nil {
		return emulation.Comparison{}, errors.Join(err, r.close())
	}
	return inflight.Attend(ctx, r.calls, r.attention(), func() (emulation.Comparison, error) {
		found, err := r.verifier.compare(ctx, r.job.Ranges)
		return found, errors.Join(err, r.close())
	})
}

// Plan tells what a copy would do, piece by piece and in order, without
// writing anything. The step is reused.
func (d *Dispatcher) Plan(ctx context.Context, job Job) iter.Seq2[*plan.Step, error] {
	return func(yield func(*plan.Step, error) bool) {
		ranges, err := ends.Ranges(job.Src, job.Dst, job.Ranges)
		if err != nil {
			yield(nil, err)
			return
		}
		job.Src, job.Dst = plan.Numbered(job.Src, job.Dst)
		p, err := plan.New(ctx, d.machine, d.opts.request(job, plan.NewKnown()))
		if err != nil {
			yield(nil, failure.During("plan", err))
			return
		}
		for step, err := range p.Steps(ctx, plan.InSectors(job.Src, job.Dst, ranges)) {
			if !yield(step, failure.During("plan", err)) {
				return
			}
		}
	}
}

// request is for the plan of a job.
func (o Options) request(job Job, known *plan.Known) plan.Request {
	return plan.Request{Src: job.Src, Dst: job.Dst, Policy: o.Offload, Hold: o.Hold, Prime: o.Prime, Known: known}
}
