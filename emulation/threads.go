package emulation

import (
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// Threads is an Engine of goroutines in blocking system calls, one for each
// transfer in flight.
type Threads struct {
	options Options
	pool    *blockio.Pool
}

var _ Engine = (*Threads)(nil)

// NewThreads makes an engine and maps its memory. The error is ErrOptions or the
// errno of mmap.
func NewThreads(options Options) (*Threads, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	pool, err := blockio.NewPool(options.QueueDepth, options.bufferSize())
	if err != nil {
		return nil, err
	}
	return &Threads{options: options, pool: pool}, nil
}

// Memory is how many bytes the buffers take.
func (t *Threads) Memory() int64 { return int64(t.pool.Len()) }

// Close implements Engine.
func (t *Threads) Close() error { return t.pool.Close() }

// Copy implements Engine.
func (t *Threads) Copy(ctx context.Context, src, dst Device, ops iter.Seq[Op], watch Observer) (Result, error) {
	j, err := t.newJob(src, dst, ops, watch)
	if err != nil {
		return Result{}, err
	}
	// A block to merge into, up to a block before the data, and up to a block
	// on either side of it.
	if err := j.fit(t.options.bufferSize(), 4); err != nil {
		return Result{}, err
	}
	j.writes = true
	err = j.run(ctx, (*worker).copy)
	return j.result.Result, err
}

// Compare implements Engine.
func (t *Threads) Compare(ctx context.Context, src, dst Device, ops iter.Seq[Op], watch Observer) (Comparison, error) {
	j, err := t.newJob(src, dst, ops, watch)
	if err != nil {
		return Comparison{}, err
	}
	if err := j.fit(halfBuffer(t.options.bufferSize()), 2); err != nil {
		return Comparison{}, err
	}
	err = j.run(ctx, (*worker).compare)
	return j.result, err
}

// halfBuffer is the size of one of two parts of a buffer, in whole pages.
func halfBuffer(size int) int { return size / 2 &^ (os.Getpagesize() - 1) }

// job is one call of Copy or Compare.
type job struct {
	options    Options
	pool       *blockio.Pool
	src, dst   end
	ops        iter.Seq[Op]
	watch      Observer
	sameDevice bool
	writes     bool
	dstHash    uint64
	piece      int64 // bytes of one transfer, a power of two

	ctx        context.Context
	cancel     context.CancelCauseFunc
	inFlight   sync.WaitGroup // pieces handed to the workers
	cannotZero atomic.Bool    // the destination has no Zero

	mu     sync.Mutex
	result Comparison
	err    error // why the job ended early
}

func (t *Threads) newJob(src, dst Device, ops iter.Seq[Op], watch Observer) (*job, error) {
	j := &job{options: t.options, pool: t.pool, ops: ops, watch: watch}
	if src == nil {
		src = nothing{}
	}
	var err error
	if j.src, err = newEnd(src); err != nil {
		return nil, err
	}
	if j.dst, err = newEnd(dst); err != nil {
		return nil, err
	}
	j.sameDevice = src.ID() == dst.ID()
	j.dstHash = maphash.String(edgeSeed, dst.ID())
	return j, nil
}

// nothing is the source of a job that has none: it has no bytes that an
// operation could ask for.
type nothing struct{ Device }

func (nothing) BlockSize() int { return 1 }
func (nothing) WriteUnit() int { return 1 }
func (nothing) Size() int64    { return 0 }
func (nothing) Name() string   { return "(no source)" }
func (nothing) ID() string     { return "" }

// fit finds the largest transfer that leaves room for so many extra blocks in
// a space of so many bytes.
func (j *job) fit(space int, extra int64) error {
	larger := &j.dst
	if j.src.block > larger.block {
		larger = &j.src
	}
	block := larger.block
	j.piece = max(int64(j.options.BlockSize), block)
	for j.piece > int64(space)-extra*block {
		j.piece /= 2
		if j.piece < block {
			return &Error{"check", larger.Name(), 0, block, ErrBlockSize}
		}
	}
	return nil
}

// run feeds the workers and waits for them.
func (j *job) run(ctx context.Context, do func(*worker, Op)) error {
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	defer j.cancel(nil)
	queue := make(chan Op)
	var workers sync.WaitGroup
	for range j.options.QueueDepth {
		workers.Go(func() {
			w := worker{job: j}
			for piece := range queue {
				w.serve(piece, do)
				j.inFlight.Done()
			}
		})
	}
	f := feeder{job: j, queue: queue}
	if err := f.feed(j.ctx); err != nil {
		j.end(err)
	}
	close(queue)
	workers.Wait()
	return j.err
}

// end ends the job early, for the first reason that is given.
func (j *job) end(err error) {
	if errors.Is(err, os.ErrClosed) {
		err = ErrClosed
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = err
		j.cancel(err)
	}
}

// worker does one piece at a time. Its slices are reused from piece to piece.
type worker struct {
	*job
	buffer     []byte
	scope      Op    // the bytes that a failure of the next transfer can concern
	stats      Stats // of this piece, as the rest
	failures   []Failure
	mismatches []Mismatch
}

func (w *worker) serve(piece Op, do func(*worker, Op)) {
	if w.ctx.Err() != nil {
		w.end(context.Cause(w.ctx))
		return
	}
	buffer, err := w.pool.Get(w.ctx)
	if err != nil {
		w.end(err)
		return
	}
	w.buffer, w.stats, w.failures, w.mismatches = buffer, Stats{}, w.failures[:0], w.mismatches[:0]
	do(w, piece)
	w.pool.Put(buffer)
	w.settle(w, piece.Len)
}

// settle adds what a worker has done to the result.
func (j *job) settle(w *worker, n int64) {
	j.mu.Lock()
	r := &j.result
	r.Stats.add(w.stats)
	for _, f := range w.failures {
		r.Failures = insertFailure(r.Failures, f)
		if j.watch.Failure != nil {
			j.watch.Failure(f)
		}
	}
	for _, m := range w.mismatches {
		r.Mismatches = insertMismatch(r.Mismatches, m)
		if limit := j.options.MaxMismatches; len(r.Mismatches) > limit {
			r.Mismatches = r.Mismatches[:limit]
			r.Truncated = true
		}
	}
	if j.watch.Progress != nil {
		j.watch.Progress(n - w.stats.Failed)
	}
	tooMany := len(r.Failures) > j.options.MaxFailures
	j.mu.Unlock()
	if tooMany {
		j.end(ErrTooManyFailures)
	}
}

func (s *Stats) add(t Stats) {
	s.Read += t.Read
	s.Written += t.Written
	s.Zeroed += t.Zeroed
	s.Skipped += t.Skipped
	s.Failed += t.Failed
	s.Merged += t.Merged
	s.Narrowed += t.Narrowed
}
