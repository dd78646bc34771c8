package emulation

import (
	"errors"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/uring"
)

// requests is what a loop needs of a uring.Ring.
type requests interface {
	Read(id uint64, fd int, p []byte, off int64)
	Write(id uint64, fd int, p []byte, off int64)
	Poll(id uint64, fd int)
	Cancel(id, victim uint64)
	Full() bool
	Enter(wait int, soon bool) error
	Withdraw() []uint64
	Next() (uring.Completion, bool)
	UnderWay() int
	Register(memory []byte, part int) error
	Close() error
}

// IDs of requests that are not those of hands.
const (
	idBell uint64 = ^uint64(iota)
	idCancel
)

// numbers is how many requests have IDs of their own, one after the other, whichever hands make
// them: a completion of a request that was made long ago, by a hand that is gone, is no other's.
const numbers = 1 << 30

// loop owns a ring and the thread that it belongs to. On it, hands make requests and go on with
// their completions.
type loop struct {
	queue requests
	pool  *blockio.Pool
	log   *slog.Logger

	waking

	mu   sync.Mutex
	mail []func() // to be done on the thread
	quit bool     // no more batches are taken

	batches []*batch
	table   []*hand // by slot
	vacant  []uint32
	number  uint64 // of the last request of a hand
	awaited int    // calls that somebody else makes for hands
	asked   int    // requests of hands, ever, until memory is registered
	ended   chan struct{}
	err     error // of the end
}

// waking is how the thread is woken while it sleeps in the kernel.
type waking struct {
	bell     *bell
	hung     bool // the kernel is to tell when the bell rings
	sleeping atomic.Bool
	rung     atomic.Bool
}

// newLoop starts the thread.
func newLoop(h *host, open func(entries int) (requests, error)) (*loop, error) {
	l := &loop{pool: h.pool, log: h.options.Log, ended: make(chan struct{})}
	begun := make(chan error)
	// Each buffer is in one request at a time, which may be canceled, and there is the bell.
	go l.run(begun, func() (requests, error) { return open(2*h.options.QueueDepth + 2) })
	if err := <-begun; err != nil {
		return nil, err
	}
	return l, nil
}

func (l *loop) run(begun chan<- error, open func() (requests, error)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := l.open(open); err != nil {
		begun <- err
		return
	}
	begun <- nil
	for l.turn() {
	}
	l.err = l.leave()
	close(l.ended)
}

func (l *loop) open(open func() (requests, error)) error {
	// Large pages are fewer, and more of them are next to each other; without them it works as well.
	_ = unix.Madvise(l.pool.Memory(), unix.MADV_HUGEPAGE)
	var err error
	if l.bell, err = newBell(); err != nil {
		return err
	}
	if l.queue, err = open(); err != nil {
		return errors.Join(err, l.bell.close())
	}
	return nil
}

// close ends the thread once it has no batches any more.
func (l *loop) close() error {
	l.mu.Lock()
	l.quit = true
	l.mu.Unlock()
	l.wake()
	<-l.ended
	return l.err
}

// add takes a batch. ErrClosed.
func (l *loop) add(b *batch) error {
	l.mu.Lock()
	if l.quit {
		l.mu.Unlock()
		return ErrClosed
	}
	l.mail = append(l.mail, func() { l.batches = append(l.batches, b) })
	l.mu.Unlock()
	l.wake()
	return nil
}

// post has something done on the thread.
func (l *loop) post(do func()) {
	l.mu.Lock()
	l.mail = append(l.mail, do)
	l.mu.Unlock()
	l.wake()
}

// wake has the thread look for what there is to do.
func (l *loop) wake() {
	l.rung.Store(true)
	if l.sleeping.Load() {
		l.bell.ring()
	}
}

// turn does what there is to do, and waits for more. It returns false when there will be no more.
func (l *loop) turn() bool {
	l.mu.Lock()
	mail, quit := l.mail, l.quit
	l.mail = nil
	l.mu.Unlock()
	for _, do := range mail {
		do()
	}
	l.batches = slices.DeleteFunc(l.batches, (*batch).tend)
	if quit && len(l.batches) == 0 {
		return false
	}
	l.sleep()
	return true
}

// sleep hands over requests, and waits until something has happened.
func (l *loop) sleep() {
	if !l.hung && !l.queue.Full() {
		l.queue.Poll(idBell, l.bell.fd)
		l.hung = true
	}
	wait := 1
	l.sleeping.Store(true)
	if l.rung.Swap(false) {
		wait = 0
	}
	err := l.queue.Enter(wait, l.awaited == 0 && l.queue.UnderWay() > 1)
	l.sleeping.Store(false)
	if l.reap() == 0 && err != nil {
		l.suffer(err)
	}
}

// reap lets all hands go on whose requests are complete.
func (l *loop) reap() (n int) {
	for c, ok := l.queue.Next(); ok; c, ok = l.queue.Next() {
		n++
		l.complete(c.ID, max(int(c.Result), 0), c.Err())
	}
	return n
}

// complete wakes whoever waits for the completion.
func (l *loop) complete(id uint64, n int, err error) {
	switch id {
	case idCancel:
		return
	case idBell:
		l.hung = false
		l.bell.silence()
		return
	}
	slot := uint32(id)
	if int64(slot) >= int64(len(l.table)) || l.table[slot] == nil || l.table[slot].id != id || !l.table[slot].asked {
		l.log.Error("io_uring: completion of a request that was not made", "id", id, "result", n, "error", err)
		return
	}
	h := l.table[slot]
	h.asked, h.n, h.err = false, n, err
	h.next()
}

// suffer makes do when the kernel does not take requests: they are made by blocking calls. For
// those that it has taken there is nothing but to wait.
func (l *loop) suffer(err error) {
	l.log.Debug("io_uring: requests are not taken", "error", err)
	for _, id := range l.queue.Withdraw() {
		if id == idBell {
			l.hung = false
			continue
		}
		l.complete(id, 0, errWithdrawn)
	}
	time.Sleep(time.Millisecond)
}

// hire makes a hand for a batch.
func (l *loop) hire(b *batch) *hand {
	h := &hand{batch: b, worker: worker{job: b.job}}
	h.calls = h
	h.next, h.stop = iter.Pull(h.live)
	if last := len(l.vacant) - 1; last >= 0 {
		h.slot, l.vacant = l.vacant[last], l.vacant[:last]
	} else {
		h.slot = uint32(len(l.table))
		l.table = append(l.table, nil)
	}
	l.table[h.slot] = h
	return h
}

// dismiss ends a hand that has nothing to do.
func (l *loop) dismiss(h *hand) {
	h.stop()
	l.table[h.slot] = nil
	l.vacant = append(l.vacant, h.slot)
}

// ask makes the request of a hand. There is room for it.
func (l *loop) ask(h *hand, write bool, fd int, p []byte, off int64) {
	l.register()
	l.number = (l.number + 1) % numbers
	h.id = l.number<<32 | uint64(h.slot)
	h.asked = true
	if write {
		l.queue.Write(h.id, fd, p, off)
	} else {
		l.queue.Read(h.id, fd, p, off)
	}
}

// register registers the buffers once it has shown that there is much to do: to pin them all
// costs as much as some transfers. Somebody has a buffer, so that they are not unmapped.
func (l *loop) register() {
	if l.asked++; l.asked != 4*len(l.pool.Memory())/l.pool.Size() {
		return
	}
	if err := l.queue.Register(l.pool.Memory(), l.pool.Size()); err != nil {
		l.log.Debug("io_uring: the buffers are not registered", "error", err)
	}
}

// leave gives everything back.
func (l *loop) leave() error {
	for l.bell.ring(); l.queue.UnderWay() > 0; {
		if err := l.queue.Enter(1, false); l.reap() == 0 && err != nil {
			l.suffer(err)
		}
	}
	return errors.Join(l.queue.Close(), l.bell.close())
}
