// Package uring is what copying needs of io_uring: reads and writes of files at offsets, from
// memory that can be registered, a poll to be woken by, and a way to cancel.
//
// A Ring belongs to one thread of the operating system: the goroutine that makes it has to be
// locked to its thread (runtime.LockOSThread), and is the only one that calls it. Then the
// kernel takes no locks, and completes requests when that thread asks for it.
//
// The kernel reads and writes the memory of a request until its completion was seen. Nothing
// here ends a request early: who closes a ring waits for all of them first.
package uring

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var (
	// ErrOld means that the kernel has io_uring, but lacks something that is needed.
	ErrOld = errors.New("io_uring of this kernel is too old")
	// ErrBusy means that requests are under way, so that the ring cannot be closed.
	ErrBusy = errors.New("requests are under way")
)

// Completion is the end of a request.
type Completion struct {
	ID     uint64 // of the request
	Result int32  // bytes, or an errno, negative
}

// Err is the error of the request, an errno, or nil.
func (c Completion) Err() error {
	if c.Result >= 0 {
		return nil
	}
	return unix.Errno(-c.Result)
}

// Ring is a submission queue and a completion queue.
type Ring struct {
	fd    int
	flags uint32
	rings []byte // the memory of both queues
	slots []byte // the memory of the requests

	requests []sqe
	sqHead   *atomic.Uint32 // moved by the kernel
	sqTail   *atomic.Uint32
	tail     uint32 // behind the last request, also those that the kernel does not see yet

	completions []cqe
	cqHead      *atomic.Uint32
	cqTail      *atomic.Uint32 // moved by the kernel

	raw      bool // waits without telling Go's scheduler
	underWay int  // requests without completion
	memory   []byte
	part     int // bytes of one part of memory that is registered
}

// preferences are flags that make it faster, the newest first: without the ones that a kernel
// does not know it does the same.
var preferences = []uint32{
	setupDeferTaskrun | setupSingleIssuer | setupCoopTaskrun | setupSubmitAll,
	setupSingleIssuer | setupCoopTaskrun | setupSubmitAll,
	setupCoopTaskrun | setupSubmitAll,
	setupSubmitAll,
	0,
}

// required are features without which a ring is not used. Before 5.12 the kernel had threads
// of its own do what blocks: they outlived the process.
const required = featSingleMmap | featNoDrop | featExtArg | featNativeWorkers

// New makes a ring for so many requests at a time. The error is [ErrOld] or an errno: ENOSYS
// and EPERM where there is no io_uring, or not for this process, ENOMEM, EMFILE.
func New(entries int) (*Ring, error) {
	var p params
	fd, err := -1, error(unix.EINVAL)
	for _, flags := range preferences {
		p = params{Flags: flags | setupClamp}
		if fd, err = setup(uint32(entries), &p); !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	r := &Ring{fd: fd, flags: p.Flags, raw: runtime.GOMAXPROCS(0) > 1}
	if err := r.mapped(&p); err != nil {
		return nil, errors.Join(err, r.release())
	}
	return r, nil
}

// mapped maps the memory that is shared with the kernel.
func (r *Ring) mapped(p *params) (err error) {
	if p.Features&required != required {
		return fmt.Errorf("%w: features %#x", ErrOld, p.Features)
	}
	size := max(int(p.SQ.Array+p.SQEntries*4), int(p.CQ.CQEs+p.CQEntries*16))
	const access, shared = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.rings, err = unix.Mmap(r.fd, offsetRings, size, access, shared); err != nil {
		return fmt.Errorf("mmap of io_uring: %w", err)
	}
	if r.slots, err = unix.Mmap(r.fd, offsetSQEs, int(p.SQEntries)*64, access, shared); err != nil {
		return fmt.Errorf("mmap of io_uring: %w", err)
	}
	r.requests = list[sqe](r.slots, 0, p.SQEntries)
	r.completions = list[cqe](r.rings, p.CQ.CQEs, p.CQEntries)
	r.sqHead, r.sqTail = word(r.rings, p.SQ.Head), word(r.rings, p.SQ.Tail)
	r.cqHead, r.cqTail = word(r.rings, p.CQ.Head), word(r.rings, p.CQ.Tail)
	order := list[uint32](r.rings, p.SQ.Array, p.SQEntries)
	odd := p.SQEntries&(p.SQEntries-1) != 0 || p.CQEntries&(p.CQEntries-1) != 0
	if odd || r.requests == nil || r.completions == nil || order == nil ||
		r.sqHead == nil || r.sqTail == nil || r.cqHead == nil || r.cqTail == nil {
		return fmt.Errorf("%w: odd queues of %d and %d", ErrOld, p.SQEntries, p.CQEntries)
	}
	for i := range order { // requests are submitted in the order of their slots
		order[i] = uint32(i)
	}
	r.tail = r.sqTail.Load()
	return nil
}

// Register pins memory, in parts of so many bytes, so that its pages need not be looked up for
// each request. A request that is not within one part of it is done without. The error is an
// errno: ENOMEM where the process may not lock so much memory (RLIMIT_MEMLOCK).
func (r *Ring) Register(memory []byte, part int) error {
	if err := registerMemory(r.fd, memory, part); err != nil {
		return fmt.Errorf("io_uring_register: %w", err)
	}
	r.memory, r.part = memory, part
	return nil
}

// Registered tells whether memory is registered.
func (r *Ring) Registered() bool { return r.memory != nil }

// Deferred tells whether completions are left to the thread of the ring.
func (r *Ring) Deferred() bool { return r.flags&setupDeferTaskrun != 0 }

// UnderWay is how many requests have no completion yet.
func (r *Ring) UnderWay() int { return r.underWay }

// Full tells whether there is no room for another request before the kernel is entered.
func (r *Ring) Full() bool { return r.tail-r.sqHead.Load() >= uint32(len(r.requests)) }

// next is the slot of the next request, cleared. There must be room.
func (r *Ring) next(id uint64) *sqe {
	s := &r.requests[r.tail&uint32(len(r.requests)-1)]
	*s = sqe{UserData: id}
	r.tail++
	r.underWay++
	return s
}

// Read is a request to read p, memory that is not of Go's heap, at off.
func (r *Ring) Read(id uint64, fd int, p []byte, off int64) {
	r.transfer(id, opRead, opReadFixed, fd, p, off)
}

// Write is a request to write p, memory that is not of Go's heap, at off.
func (r *Ring) Write(id uint64, fd int, p []byte, off int64) {
	r.transfer(id, opWrite, opWriteFixed, fd, p, off)
}

func (r *Ring) transfer(id uint64, plain, fixed uint8, fd int, p []byte, off int64) {
	s := r.next(id)
	s.Opcode, s.FD, s.Addr, s.Len, s.Offset = plain, int32(fd), address(p), uint32(len(p)), uint64(off)
	if at, ok := within(p, r.memory); ok && len(p) > 0 && at/r.part == (at+len(p)-1)/r.part {
		s.Opcode, s.BufferIndex = fixed, uint16(at/r.part)
	}
}

// Poll is a request that completes once the file can be read.
func (r *Ring) Poll(id uint64, fd int) {
	s := r.next(id)
	s.Opcode, s.FD, s.OpFlags = opPollAdd, int32(fd), pollIn
}

// Cancel is a request to end the one called victim, which then completes with ECANCELED or as
// it would have: what a device has begun is not called off.
func (r *Ring) Cancel(id, victim uint64) {
	s := r.next(id)
	s.Opcode, s.FD, s.Addr = opAsyncCancel, -1, victim
}

// Enter hands all requests over, and waits for so many completions; soon says that nothing but
// devices is waited for. It may return early, without error. The error is an errno: EAGAIN without memory for a request, EBUSY if completions have to
// be taken first (io_uring_enter(2)). Then some requests may not have been taken: they stay, or
// are withdrawn.
func (r *Ring) Enter(wait int, soon bool) error {
	r.sqTail.Store(r.tail)
	if r.raw && soon && wait > 0 {
		err := enterShortly(r.fd, r.tail-r.sqHead.Load(), uint32(wait), short)
		if !errors.Is(err, unix.ETIME) {
			return entered(err)
		}
	}
	return entered(enter(r.fd, r.tail-r.sqHead.Load(), uint32(wait)))
}

// short is for how long, in nanoseconds, a completion is waited for without a word to Go's
// scheduler. Told, it takes the processor away from a thread that waits, gives it back, and
// watches for the next time, every 20 µs at first (runtime/proc.go, sysmon): that costs as much
// as a transfer of a megabyte. So the thread keeps one of several processors, for as long as a
// device that does something takes at most. When the world is to be stopped, a signal ends the
// wait; but somebody may have turned those off.
const short = 100e6

func entered(err error) error {
	if err == nil || errors.Is(err, unix.EINTR) {
		return nil
	}
	return fmt.Errorf("io_uring_enter: %w", err)
}

// Withdraw takes back the requests that the kernel has not taken, and returns their IDs.
func (r *Ring) Withdraw() (ids []uint64) {
	for head := r.sqHead.Load(); r.tail != head; {
		r.tail--
		r.underWay--
		ids = append(ids, r.requests[r.tail&uint32(len(r.requests)-1)].UserData)
	}
	r.sqTail.Store(r.tail)
	return ids
}

// Next takes the next completion that is there.
func (r *Ring) Next() (Completion, bool) {
	head := r.cqHead.Load()
	if head == r.cqTail.Load() {
		return Completion{}, false
	}
	c := r.completions[head&uint32(len(r.completions)-1)]
	r.cqHead.Store(head + 1)
	r.underWay--
	return Completion{c.UserData, c.Result}, true
}

// Close gives everything back. While requests are under way it does nothing, and is [ErrBusy].
func (r *Ring) Close() error {
	if r.underWay > 0 {
		return ErrBusy
	}
	var err error
	if r.memory != nil { // at once, not some time after the ring is closed
		err = unregisterMemory(r.fd)
		r.memory = nil
	}
	return errors.Join(err, r.release())
}

func (r *Ring) release() error {
	var errs []error
	for _, memory := range [][]byte{r.rings, r.slots} {
		if memory != nil {
			errs = append(errs, unix.Munmap(memory))
		}
	}
	errs = append(errs, unix.Close(r.fd))
	*r = Ring{fd: -1}
	return errors.Join(errs...)
}
