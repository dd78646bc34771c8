package emulation

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/uring"
)

// Ring is an Engine on io_uring: one thread for all transfers in flight.
type Ring struct{ host }

var _ Engine = (*Ring)(nil)

// NewRing makes an engine and maps its memory. The error is ErrOptions, that of uring.New, or the
// errno of mmap.
func NewRing(options Options) (*Ring, error) {
	return newRing(options, func(entries int) (requests, error) { return uring.New(entries) })
}

func newRing(options Options, open func(entries int) (requests, error)) (*Ring, error) {
	h, err := newHost(options)
	if err != nil {
		return nil, err
	}
	l, err := newLoop(&h, open)
	if err != nil {
		return nil, errors.Join(err, h.pool.Close())
	}
	h.crew = ring{l}
	return &Ring{h}, nil
}

// ring is a crew of hands, all of which live on the thread of a loop.
type ring struct{ *loop }

func (r ring) run(j *job, do task) {
	b := newBatch(r.loop, j, do)
	if err := r.add(b); err != nil {
		j.end(err)
		return
	}
	callOff := context.AfterFunc(j.ctx, func() { r.post(b.callOff) })
	j.feed(b.offer)
	b.close()
	<-b.over
	callOff()
}

// batch is a job on its way to the hands of a loop.
type batch struct {
	*job
	do   task
	loop *loop
	over chan struct{} // closed when it is done

	mu     sync.Mutex
	pieces []Op // that nobody has taken yet
	closed bool // no more are coming
	// hungry: there was no piece for somebody, and the loop is to be told of the next one.
	hungry bool
	// room is told when there is room again, once, if full.
	room chan struct{}
	full bool

	// Only the thread of the loop knows of those.
	hands []*hand
	idle  []*hand
}

// ahead is how many pieces are kept ready. Who feeds them is woken when half of them are gone:
// for each piece it would cost more than to copy it.
const ahead = 128

func newBatch(l *loop, j *job, do task) *batch {
	return &batch{job: j, do: do, loop: l, over: make(chan struct{}), hungry: true, room: make(chan struct{}, 1)}
}

// offer keeps a piece for the next hand that is free.
func (b *batch) offer(piece Op) error {
	for {
		b.mu.Lock()
		if b.ctx.Err() != nil {
			b.mu.Unlock()
			return context.Cause(b.ctx)
		}
		if len(b.pieces) < ahead {
			break
		}
		b.full = true
		b.mu.Unlock()
		select {
		case <-b.room:
		case <-b.ctx.Done():
		}
	}
	b.pieces = append(b.pieces, piece)
	tell := b.hungry
	b.hungry = false
	b.mu.Unlock()
	if tell {
		b.loop.wake()
	}
	return nil
}

func (b *batch) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.loop.wake()
}

// take returns the next piece.
func (b *batch) take() (Op, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pieces) == 0 {
		b.hungry = true
		return Op{}, false
	}
	piece := b.pieces[0]
	b.pieces = b.pieces[1:]
	if b.full && len(b.pieces) <= ahead/2 {
		b.full = false
		select {
		case b.room <- struct{}{}:
		default:
		}
	}
	return piece, true
}

// waiting tells how many pieces wait, and whether no more are coming.
func (b *batch) waiting() (pieces int, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pieces), b.closed
}

// tend sets hands to work. It tells whether the batch is done.
func (b *batch) tend() (done bool) {
	pieces, closed := b.waiting()
	for ; pieces > 0 && (len(b.idle) > 0 || len(b.hands) < b.options.QueueDepth); pieces, closed = b.waiting() {
		var h *hand
		if last := len(b.idle) - 1; last >= 0 {
			h, b.idle = b.idle[last], b.idle[:last]
		} else {
			h = b.loop.hire(b)
			b.hands = append(b.hands, h)
		}
		h.next()
	}
	if !closed || pieces > 0 || len(b.idle) < len(b.hands) {
		return false
	}
	for _, h := range b.hands {
		b.loop.dismiss(h)
	}
	close(b.over)
	return true
}

// callOff asks for the end of what is in flight, as far as there is a way.
func (b *batch) callOff() {
	for _, h := range b.hands {
		if h.asked && !b.loop.queue.Full() {
			b.loop.queue.Cancel(idCancel, h.id)
		}
	}
}

// errWithdrawn: the kernel has not taken the request.
var errWithdrawn = errors.New("not taken")

// hand is a worker that goes to sleep, like a thread in a blocking call, when it has made a
// request, and goes on when the loop has its completion. It is a coroutine of the loop.
type hand struct {
	worker
	batch *batch
	next  func() (struct{}, bool) // goes on until it sleeps
	stop  func()
	yield func(struct{}) bool

	slot  uint32 // in the table of the loop
	id    uint64 // of its last request
	asked bool   // the request has no completion yet
	n     int    // what the completion says
	err   error
}

// live is the life of a hand: each piece that there is, one after the other.
func (h *hand) live(yield func(struct{}) bool) {
	h.yield = yield
	for {
		if piece, ok := h.batch.take(); ok {
			h.serve(piece, h.batch.do)
			h.inFlight.Done()
			continue
		}
		h.batch.idle = append(h.batch.idle, h)
		if !yield(struct{}{}) {
			return
		}
	}
}

// transfer implements caller.
func (h *hand) transfer(e *end, write bool, p []byte, off int64) (int, error) {
	if e.start == nil || h.batch.loop.queue.Full() {
		return h.once(e, write, p, off)
	}
	t, err := e.start(write, off, len(p))
	if err != nil {
		return 0, err
	}
	h.batch.loop.ask(h, write, t.FD, p[:min(t.Len, len(p))], off)
	h.yield(struct{}{})
	if !h.dropped() {
		return t.End(h.n, h.err)
	}
	if _, err := t.End(0, unix.EAGAIN); !errors.Is(err, unix.EAGAIN) {
		return 0, err
	}
	return h.once(e, write, p, off)
}

// dropped tells whether the kernel has not carried out the request, although nobody has called it
// off: it does so when signals keep it from starting a thread for it (io_uring/io-wq.c,
// io_should_retry_thread), as Go's scheduler sends them.
func (h *hand) dropped() bool {
	return errors.Is(h.err, errWithdrawn) || errors.Is(h.err, unix.ECANCELED) && h.ctx.Err() == nil
}

// once has somebody else make the call.
func (h *hand) once(e *end, write bool, p []byte, off int64) (n int, err error) {
	h.await(func() { n, err = e.once(write, p, off) })
	return n, err
}

func (h *hand) zero(e *end, off, n int64) (err error) {
	h.await(func() { err = e.Zero(off, n) })
	return err
}

func (h *hand) buffer(ctx context.Context) ([]byte, error) {
	if b, ok := h.pool.TryGet(); ok {
		return b, nil
	}
	return h.waitForBuffer(ctx)
}

func (h *hand) waitForBuffer(ctx context.Context) (b []byte, err error) {
	h.await(func() { b, err = h.pool.Get(ctx) })
	return b, err
}

// lock: who has the lock may be another hand, which has to be able to go on.
func (h *hand) lock(m *sync.Mutex) {
	if !m.TryLock() {
		h.await(m.Lock)
	}
}

func (h *hand) pause(ctx context.Context, d time.Duration) { h.await(func() { pause(ctx, d) }) }

// await has somebody else do what may block.
func (h *hand) await(do func()) {
	l := h.batch.loop
	l.awaited++
	go func() {
		do()
		l.post(func() {
			l.awaited--
			h.next()
		})
	}()
	h.yield(struct{}{})
}
