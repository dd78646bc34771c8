package enginetest

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"weak"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/uring"
)

// Kernel stands for io_uring: it carries out the transfers of Memories whose Config says so. It
// is as unkind as it may be: requests are carried out and completed in any order, some are not
// taken at first or for good, or canceled, and waiting ends without a reason.
type Kernel struct {
	entries int
	// RefusesAfter is how often it is entered before it takes no requests any more; 0: it goes on
	// taking them; negative: it has never taken any.
	RefusesAfter int
	// NoMemory has it register none.
	NoMemory bool
	// Strange makes up completions.
	Strange bool

	mu       sync.Mutex
	changed  *sync.Cond
	random   *rand.Rand
	queued   []*call // not taken yet
	running  map[uint64]*call
	ended    []uring.Completion
	underWay int
	entered  int
	memory   []byte
	last     uint64         // ID of a completion that was taken
	made     map[uint64]int // how many requests, by ID
}

// call is a request.
type call struct {
	id       uint64
	do       func() (int, error)
	begun    bool
	canceled bool
}

// NewKernel makes one for so many requests at a time.
func NewKernel(entries int, seed uint64) *Kernel {
	k := &Kernel{entries: entries, random: rand.New(rand.NewPCG(seed, 0)), running: map[uint64]*call{}, made: map[uint64]int{}}
	k.changed = sync.NewCond(&k.mu)
	return k
}

// firstNumber is that of the first Memory; no file has so high a descriptor.
const firstNumber = 1 << 30

var enrolled struct {
	sync.Mutex
	devices []weak.Pointer[Memory]
}

// enroll gives a device a number, which stands for a descriptor.
func enroll(m *Memory) int {
	enrolled.Lock()
	defer enrolled.Unlock()
	enrolled.devices = append(enrolled.devices, weak.Make(m))
	return firstNumber + len(enrolled.devices) - 1
}

func device(number int) *Memory {
	enrolled.Lock()
	defer enrolled.Unlock()
	return enrolled.devices[number-firstNumber].Value()
}

// Async is how transfers are left to a Kernel (see [emulation.Async]). Some are shorter than
// they could be.
func (m *Memory) Async() emulation.Start {
	if !m.config.Async {
		return nil
	}
	return func(write bool, _ int64, n int) (emulation.Transfer, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if unit := max(m.config.BlockSize, 1); m.config.Hiccups && n > unit && m.random.IntN(4) == 0 {
			n = max(n/2/unit*unit, unit)
		}
		return emulation.Transfer{FD: m.number, Len: n, End: func(n int, err error) (int, error) { return n, err }}, nil
	}
}

// Read queues a request.
func (k *Kernel) Read(id uint64, fd int, p []byte, off int64) {
	k.queue(id, func() (int, error) { return device(fd).ReadAt(p, off) })
}

// Write queues a request.
func (k *Kernel) Write(id uint64, fd int, p []byte, off int64) {
	k.queue(id, func() (int, error) { return device(fd).WriteAt(p, off) })
}

// Poll queues a request for a real descriptor.
func (k *Kernel) Poll(id uint64, fd int) {
	k.queue(id, func() (int, error) {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		for errors.Is(err, unix.EINTR) {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		}
		return unix.POLLIN, err
	})
}

// Cancel queues a request: a call that has not begun yet never will.
func (k *Kernel) Cancel(id, victim uint64) {
	k.queue(id, func() (int, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		switch c := k.running[victim]; {
		case c == nil:
			return 0, unix.ENOENT
		case c.begun:
			return 0, unix.EALREADY
		default:
			c.canceled = true
			return 0, nil
		}
	})
}

func (k *Kernel) queue(id uint64, do func() (int, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queued) == k.entries {
		panic("a request that there is no room for")
	}
	k.queued = append(k.queued, &call{id: id, do: do})
	k.made[id]++
	k.underWay++
}

// Repeated is how many transfers had the ID of an earlier one: a completion that is strange, or
// late, could be taken for theirs.
func (k *Kernel) Repeated() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, times := range k.made {
		if id>>63 == 0 {
			n += times - 1
		}
	}
	return n
}

// Full tells whether there is no room.
func (k *Kernel) Full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queued) == k.entries
}

// Enter takes requests, and waits.
func (k *Kernel) Enter(wait int, _ bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entered++; k.RefusesAfter != 0 && k.entered > k.RefusesAfter && len(k.queued) > 0 {
		return unix.EPERM
	}
	if k.random.IntN(20) == 0 {
		return unix.EAGAIN
	}
	take := len(k.queued)
	if k.random.IntN(8) == 0 {
		take, wait = k.random.IntN(take+1), 0
	}
	for _, c := range k.queued[:take] {
		k.running[c.id] = c
		go k.run(c, k.random.IntN(6))
	}
	k.queued = k.queued[take:]
	for len(k.ended) < wait && k.random.IntN(30) > 0 {
		k.changed.Wait()
	}
	return nil
}

// run carries a request out, a little later than others.
func (k *Kernel) run(c *call, later int) {
	for range later {
		runtime.Gosched()
	}
	k.mu.Lock()
	c.begun = true
	canceled := c.canceled || c.id>>63 == 0 && k.random.IntN(50) == 0 // also without a reason
	k.mu.Unlock()
	n, err := 0, error(unix.ECANCELED)
	if !canceled {
		n, err = c.do()
	}
	result := int32(n)
	if errno := unix.EIO; err != nil {
		errors.As(err, &errno)
		result = -int32(errno)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.running, c.id)
	k.ended = append(k.ended, uring.Completion{ID: c.id, Result: result})
	k.changed.Broadcast()
}

// Withdraw gives back what was not taken.
func (k *Kernel) Withdraw() (ids []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.queued {
		ids = append(ids, c.id)
	}
	k.underWay -= len(k.queued)
	k.queued = nil
	return ids
}

// Next takes any completion.
func (k *Kernel) Next() (uring.Completion, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.Strange && k.random.IntN(4) == 0 {
		odd := []uint64{k.last, 1<<62 | k.last, 1<<62 | k.random.Uint64()>>2} // none that is under way
		return uring.Completion{ID: odd[k.random.IntN(len(odd))], Result: k.random.Int32N(8192) - 100}, true
	}
	if len(k.ended) == 0 {
		return uring.Completion{}, false
	}
	i, last := k.random.IntN(len(k.ended)), len(k.ended)-1
	c := k.ended[i]
	k.ended[i] = k.ended[last]
	k.ended = k.ended[:last]
	k.underWay--
	if c.ID>>63 == 0 {
		k.last = c.ID
	}
	return c, true
}

// UnderWay counts requests without completion.
func (k *Kernel) UnderWay() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.underWay
}

// Register takes memory, and nothing else becomes of it.
func (k *Kernel) Register(memory []byte, _ int) error {
	if k.memory != nil {
		return unix.EBUSY
	}
	if k.NoMemory {
		return unix.ENOMEM
	}
	k.memory = memory
	return nil
}

// Close fails while requests are under way.
func (k *Kernel) Close() error {
	if k.UnderWay() > 0 {
		return uring.ErrBusy
	}
	return nil
}
