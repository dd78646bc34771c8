package dispatch

import (
	"context"
	"errors"
	"log/slog"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
)

// OpenJob opens source and destination of a copy on this machine by name, and checks the ranges;
// without ranges all of the source is copied. What must not be an end of a copy is a
// [Refusal]. A destination that is missing becomes a regular file, if its name has a slash.
// The job is the caller's, who closes it.
func OpenJob(ctx context.Context, src, dst string, opts OpenOptions, ranges ...Range) (Job, error) {
	from, to, checked, _, err := ends.OpenBoth(ctx, ends.Here, src, dst, ranges, opts)
	return Job{Src: from, Dst: to, Ranges: checked}, err
}

// Close closes both ends. A job between volumes has ends that are closed with these.
func (j Job) Close() error { return errors.Join(j.Dst.Close(), j.Src.Close()) }

// OpenSource opens what is to be copied, by name, on this machine: see [Engine.Open].
func OpenSource(ctx context.Context, name string, opts OpenOptions) (Endpoint, error) {
	return ends.OpenSource(ctx, ends.Here, name, opts)
}

// OpenDestination opens what is to be written, by name, on this machine. beside is the
// source.
func OpenDestination(ctx context.Context, name string, beside Endpoint, opts OpenOptions) (Endpoint, error) {
	opts.Beside = beside
	return ends.OpenDestination(ctx, ends.Here, name, opts)
}

// LocalMachine is the machine that this process runs on.
type LocalMachine struct {
	Machine
	close func() error
}

// Local returns this machine. Whoever may not ask the kernel for its layout gets errors from what
// is done with it. log may be nil.
func Local(log *slog.Logger) *LocalMachine {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m, close := kernel.Local(log)
	return &LocalMachine{m, close}
}

// Close gives back what was taken of the machine: metadata snapshots of pools, descriptors of disks.
func (m *LocalMachine) Close() error { return m.close() }
