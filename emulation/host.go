package emulation

import (
	"context"
	"errors"
	"iter"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// host is what all engines are. What differs is the crew: who carries pieces out, and how.
type host struct {
	options Options
	pool    *blockio.Pool
	crew    crew
}

// crew carries out jobs, several at a time.
type crew interface {
	// run feeds the job to workers, and returns when none of its I/O is in flight.
	run(j *job, do task)
	// close returns when nothing is left. No job is running, or will.
	close() error
}

// task is what a worker does with a piece.
type task func(*worker, Op)

func newHost(options Options) (host, error) {
	options, err := options.withDefaults()
	if err != nil {
		return host{}, err
	}
	pool, err := blockio.NewPool(options.QueueDepth, options.bufferSize())
	if err != nil {
		return host{}, err
	}
	return host{options: options, pool: pool}, nil
}

// Memory is how many bytes the buffers take.
func (h *host) Memory() int64 { return int64(h.pool.Len()) }

// Close implements Engine. The memory is unmapped last, when nobody can know of it any more.
func (h *host) Close() error {
	h.pool.Drain()
	return errors.Join(h.crew.close(), h.pool.Close())
}

// Copy implements Engine.
func (h *host) Copy(ctx context.Context, src, dst Device, ops iter.Seq[Op], watch Observer) (Result, error) {
	j, err := h.newJob(src, dst, ops, watch)
	if err != nil {
		return Result{}, err
	}
	// A block to merge into, up to a block before the data, and up to a block
	// on either side of it.
	if err := j.fit(h.options.bufferSize(), 4); err != nil {
		return Result{}, err
	}
	j.writes = true
	err = h.run(ctx, j, (*worker).copy)
	return j.result.Result, err
}

// Compare implements Engine.
func (h *host) Compare(ctx context.Context, src, dst Device, ops iter.Seq[Op], watch Observer) (Comparison, error) {
	j, err := h.newJob(src, dst, ops, watch)
	if err != nil {
		return Comparison{}, err
	}
	if err := j.fit(halfBuffer(h.options.bufferSize()), 2); err != nil {
		return Comparison{}, err
	}
	err = h.run(ctx, j, (*worker).compare)
	return j.result, err
}

func (h *host) run(ctx context.Context, j *job, do task) error {
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	defer j.cancel(nil)
	h.crew.run(j, do)
	return j.err
}
