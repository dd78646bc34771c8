package emulation

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

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

	outcome
}

// outcome is what becomes of a job.
type outcome struct {
	mu     sync.Mutex
	result Comparison
	err    error // why it ended early
}

func (h *host) newJob(src, dst Device, ops iter.Seq[Op], watch Observer) (*job, error) {
	j := &job{options: h.options, pool: h.pool, ops: ops, watch: watch}
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

// caller makes the calls of a worker that may take long.
type caller interface {
	// transfer is one call of ReadAt or WriteAt.
	transfer(e *end, write bool, p []byte, off int64) (int, error)
	// zero is a call of Zero.
	zero(e *end, off, n int64) error
	// buffer waits for one of the pool.
	buffer(ctx context.Context) ([]byte, error)
	// lock waits for the lock.
	lock(m *sync.Mutex)
	// pause waits for a while, or until the context ends.
	pause(ctx context.Context, d time.Duration)
}

// worker does one piece at a time. Its slices are reused from piece to piece.
type worker struct {
	*job
	calls      caller
	buffer     []byte
	scope      Op    // the bytes that a failure of the next transfer can concern
	stats      Stats // of this piece, as the rest
	failures   []Failure
	mismatches []Mismatch
	// calledOff: a transfer of the piece was called off, as the job is to end.
	calledOff bool
}

func (w *worker) serve(piece Op, do task) {
	if w.ctx.Err() != nil {
		w.end(context.Cause(w.ctx))
		return
	}
	buffer, err := w.calls.buffer(w.ctx)
	if err != nil {
		w.end(err)
		return
	}
	w.buffer, w.stats, w.failures, w.mismatches, w.calledOff = buffer, Stats{}, w.failures[:0], w.mismatches[:0], false
	do(w, piece)
	w.pool.Put(buffer)
	if w.calledOff { // half done: neither progress nor a failure
		w.end(context.Cause(w.ctx))
		return
	}
	w.settle(w, piece)
}

// settle adds what a worker has done of a piece to the result.
func (j *job) settle(w *worker, piece Op) {
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
		j.watch.Progress(piece.Len - w.stats.Failed)
	}
	if j.watch.Done != nil {
		slices.SortFunc(w.failures, func(a, b Failure) int { return cmp.Compare(a.Op.Dst, b.Op.Dst) })
		w.intact(piece, 0, j.watch.Done)
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
