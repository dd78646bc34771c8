package scsi

import (
	"fmt"
	"slices"
	"sync"
)

// ledger keeps the blocks of a logical unit that batches are reading and writing,
// of all pairs that it belongs to, and those that are fenced.
type ledger struct {
	mu     sync.Mutex
	active map[*extents]struct{}
	fences []*Fence
}

// extents are the blocks that a batch reads and writes in one logical unit.
type extents struct{ src, dst []span }

// conflict: one writes what the other reads or writes.
func (e *extents) conflict(o *extents) (span, bool) {
	for _, pair := range [...][2][]span{{e.dst, o.dst}, {e.dst, o.src}, {e.src, o.dst}} {
		if s, bad := meet(pair[0], pair[1]); bad {
			return s, true
		}
	}
	return span{}, false
}

// enter checks e against what is under way and what is fenced, and enters it.
func (l *ledger) enter(e *extents) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.active {
		if s, bad := e.conflict(other); bad {
			return fmt.Errorf("%w: blocks %v are under way in another batch", ErrOverlap, s)
		}
	}
	l.fences = slices.DeleteFunc(l.fences, (*Fence).over)
	for _, f := range l.fences {
		if s, bad := e.conflict(&extents{dst: f.spans}); bad {
			return fmt.Errorf("%w: blocks %v", ErrFenced, s)
		}
	}
	if l.active == nil {
		l.active = make(map[*extents]struct{})
	}
	l.active[e] = struct{}{}
	return nil
}

func (l *ledger) leave(e *extents) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, e)
}

func (l *ledger) fence(f *Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = append(l.fences, f)
}

// claim enters a batch on both sides. The pieces are in order of destination.
func claim(src, dst *Device, pieces []Piece) (release func(), err error) {
	for i, p := range pieces {
		if !p.valid() {
			return nil, fmt.Errorf("%w: piece %v", ErrInvalid, p)
		}
		if p.source().end > src.Capacity.Blocks || p.destination().end > dst.Capacity.Blocks {
			return nil, fmt.Errorf("%w: piece %v from %d to %d blocks", ErrOutOfRange, p, src.Capacity.Blocks, dst.Capacity.Blocks)
		}
		if i > 0 && pieces[i-1].destination().end > p.DstLBA {
			return nil, fmt.Errorf("%w: pieces %v and %v in the destination", ErrOverlap, pieces[i-1], p)
		}
	}
	from, to := spansOf(pieces, Piece.source), spansOf(pieces, Piece.destination)
	if src == dst {
		if s, bad := meet(from, to); bad {
			return nil, fmt.Errorf("%w: blocks %v are source and destination", ErrOverlap, s)
		}
		both := &extents{src: from, dst: to}
		return func() { dst.ledger.leave(both) }, dst.ledger.enter(both)
	}
	reads, writes := &extents{src: from}, &extents{dst: to}
	if err := dst.ledger.enter(writes); err != nil {
		return nil, err
	}
	if err := src.ledger.enter(reads); err != nil {
		dst.ledger.leave(writes)
		return nil, err
	}
	return func() { src.ledger.leave(reads); dst.ledger.leave(writes) }, nil
}
