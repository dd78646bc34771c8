package nvme

import (
	"fmt"
	"slices"
	"sync"
)

// Ledger knows which blocks of which namespaces are under way, and which are
// fenced, and refuses to mix them. All Copiers that touch a namespace share one:
// what one of them writes, another may read. Namespaces are told apart by their
// Device, of which there is one for each.
type Ledger struct {
	mu     sync.Mutex
	active map[*extents]struct{}
	fences []*Fence
	slots  map[*Device]chan *slot
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{active: make(map[*extents]struct{}), slots: make(map[*Device]chan *slot)}
}

// extents are the blocks that a batch reads and writes.
type extents struct {
	from, to *Device
	src, dst []span
}

// claim enters the blocks of a batch.
func (l *Ledger) claim(e *extents) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.active {
		if s, bad := e.conflict(other); bad {
			return fmt.Errorf("%w: blocks %v are under way in another batch", ErrOverlap, s)
		}
	}
	l.fences = slices.DeleteFunc(l.fences, (*Fence).over)
	for _, f := range l.fences {
		if s, bad := e.conflict(&extents{to: f.on, dst: f.spans}); bad {
			return fmt.Errorf("%w: blocks %v", ErrFenced, s)
		}
	}
	l.active[e] = struct{}{}
	return nil
}

func (l *Ledger) release(e *extents) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, e)
}

func (l *Ledger) fence(f *Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = append(l.fences, f)
}

// conflict: one writes what the other reads or writes.
func (e *extents) conflict(o *extents) (span, bool) {
	for _, c := range [...]struct {
		on, also   *Device
		mine, hers []span
	}{{e.to, o.to, e.dst, o.dst}, {e.to, o.from, e.dst, o.src}, {e.from, o.to, e.src, o.dst}} {
		if c.on != c.also {
			continue
		}
		if s, bad := meet(c.mine, c.hers); bad {
			return s, true
		}
	}
	return span{}, false
}

// room is what commands to a namespace are made in: n at a time, which whoever
// comes first decides.
func (l *Ledger) room(to *Device, n int) chan *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots[to] == nil {
		l.slots[to] = make(chan *slot, n)
		for range n {
			l.slots[to] <- new(slot)
		}
	}
	return l.slots[to]
}
