package emulation

import (
	"context"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// Threads is an Engine of goroutines in blocking system calls, one for each
// transfer in flight.
type Threads struct{ host }

var _ Engine = (*Threads)(nil)

// NewThreads makes an engine and maps its memory. The error is ErrOptions or the
// errno of mmap.
func NewThreads(options Options) (*Threads, error) {
	h, err := newHost(options)
	if err != nil {
		return nil, err
	}
	h.crew = threads{}
	return &Threads{h}, nil
}

// threads is a crew of goroutines.
type threads struct{}

func (threads) run(j *job, do task) {
	queue := make(chan Op)
	var workers sync.WaitGroup
	for range j.options.QueueDepth {
		workers.Go(func() {
			w := worker{job: j, calls: blocking{j.pool}}
			for piece := range queue {
				w.serve(piece, do)
				j.inFlight.Done()
			}
		})
	}
	j.feed(func(piece Op) error {
		select {
		case queue <- piece:
			return nil
		case <-j.ctx.Done():
			return context.Cause(j.ctx)
		}
	})
	close(queue)
	workers.Wait()
}

func (threads) close() error { return nil }

// blocking is a caller that blocks.
type blocking struct{ pool *blockio.Pool }

func (blocking) transfer(e *end, write bool, p []byte, off int64) (int, error) {
	return e.once(write, p, off)
}

func (blocking) zero(e *end, off, n int64) error { return e.Zero(off, n) }

func (b blocking) buffer(ctx context.Context) ([]byte, error) { return b.pool.Get(ctx) }

func (blocking) lock(m *sync.Mutex) { m.Lock() }

func (blocking) pause(ctx context.Context, d time.Duration) { pause(ctx, d) }
