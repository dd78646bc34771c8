package blocks

import (
	"fmt"
	"slices"
	"sync"
)

// Ledger keeps the blocks of one device that batches are reading and writing, of
// all pairs that it belongs to, and those that are fenced, and refuses to mix them:
// what one batch writes, another may read. The zero value is empty.
type Ledger struct {
	mu     sync.Mutex
	active map[*extents]struct{}
	fences []*Fence
}

// Side is one side of a copy.
type Side struct {
	Ledger *Ledger // which there is one of for each device
	Blocks uint64  // of the device
}

// extents are the blocks that a batch reads and writes in one device.
type extents struct{ src, dst []Span }

// conflict: one writes what the other reads or writes.
func (e *extents) conflict(o *extents) (Span, bool) {
	for _, pair := range [...][2][]Span{{e.dst, o.dst}, {e.dst, o.src}, {e.src, o.dst}} {
		if s, bad := meet(pair[0], pair[1]); bad {
			return s, true
		}
	}
	return Span{}, false
}

// enter checks e against what is under way and what is fenced, and enters it.
func (l *Ledger) enter(e *extents) error {
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

// Busy tells whether anything is under way or fenced.
func (l *Ledger) Busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = slices.DeleteFunc(l.fences, (*Fence).over)
	return len(l.active)+len(l.fences) > 0
}

func (l *Ledger) leave(e *extents) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, e)
}

func (l *Ledger) fence(f *Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = append(l.fences, f)
}

// Claim checks a batch of pieces, in any order, against both sides, each other,
// what is under way and what is fenced, and enters it until release is called. It
// returns the pieces as [SortByDestination] makes them.
func Claim(src, dst Side, pieces []Piece) (sorted []Piece, release func(), err error) {
	for _, p := range pieces { // what joins pieces needs valid ones
		if !p.Valid() {
			return nil, nil, fmt.Errorf("%w: piece %v", ErrInvalid, p)
		}
	}
	sorted = SortByDestination(slices.Clone(pieces))
	for i, p := range sorted {
		if p.Source().End > src.Blocks || p.Destination().End > dst.Blocks {
			return nil, nil, fmt.Errorf("%w: piece %v from %d to %d blocks", ErrOutOfRange, p, src.Blocks, dst.Blocks)
		}
		if i > 0 && sorted[i-1].Destination().End > p.DstLBA {
			return nil, nil, fmt.Errorf("%w: pieces %v and %v in the destination", ErrOverlap, sorted[i-1], p)
		}
	}
	release, err = enter(src.Ledger, dst.Ledger, spansOf(sorted, Piece.Source), spansOf(sorted, Piece.Destination))
	return sorted, release, err
}

// enter enters what is read in src and written in dst, which may be the same.
func enter(src, dst *Ledger, from, to []Span) (release func(), err error) {
	if src == dst {
		if s, bad := meet(from, to); bad {
			return nil, fmt.Errorf("%w: blocks %v are source and destination", ErrOverlap, s)
		}
		both := &extents{src: from, dst: to}
		return func() { dst.leave(both) }, dst.enter(both)
	}
	reads, writes := &extents{src: from}, &extents{dst: to}
	if err := dst.enter(writes); err != nil {
		return nil, err
	}
	if err := src.enter(reads); err != nil {
		dst.leave(writes)
		return nil, err
	}
	return func() { src.leave(reads); dst.leave(writes) }, nil
}
