package blocks

import (
	"fmt"
	"slices"
	"sync"
)

// RangeLocks are the locks on the blocks of one device: those that batches of all its
// pairs read and write, and those that are fenced. No batch may write what another one
// reads or writes. The zero value has no locks.
type RangeLocks struct {
	mu     sync.Mutex
	active map[*extents]struct{}
	fences []*Fence
}

// Side is one side of a copy.
type Side struct {
	Locks  *RangeLocks // one for each device
	Blocks uint64      // of the device
}

// extents are the blocks that a batch reads and writes in one device.
type extents struct{ src, dst []Span }

// conflict: one writes what the other reads or writes.
func (e *extents) conflict(o *extents) (Span, bool) {
	for _, pair := range [...][2][]Span{{e.dst, o.dst}, {e.dst, o.src}, {e.src, o.dst}} {
		if s, bad := overlap(pair[0], pair[1]); bad {
			return s, true
		}
	}
	return Span{}, false
}

// lock takes the locks of e, unless a batch under way or a fence has them.
func (l *RangeLocks) lock(e *extents) error {
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

// Busy tells whether any block is locked or fenced.
func (l *RangeLocks) Busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = slices.DeleteFunc(l.fences, (*Fence).over)
	return len(l.active)+len(l.fences) > 0
}

func (l *RangeLocks) unlock(e *extents) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, e)
}

func (l *RangeLocks) fence(f *Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = append(l.fences, f)
}

// Claim checks a batch of pieces, in any order, against both sides, each other,
// what is under way and what is fenced, and locks its blocks until release is called. It
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
	release, err = lockBoth(src.Locks, dst.Locks, spansOf(sorted, Piece.Source), spansOf(sorted, Piece.Destination))
	return sorted, release, err
}

// lockBoth locks what is read in src and written in dst, which may be one device.
func lockBoth(src, dst *RangeLocks, from, to []Span) (release func(), err error) {
	if src == dst {
		if s, bad := overlap(from, to); bad {
			return nil, fmt.Errorf("%w: blocks %v are source and destination", ErrOverlap, s)
		}
		both := &extents{src: from, dst: to}
		return func() { dst.unlock(both) }, dst.lock(both)
	}
	reads, writes := &extents{src: from}, &extents{dst: to}
	if err := dst.lock(writes); err != nil {
		return nil, err
	}
	if err := src.lock(reads); err != nil {
		dst.unlock(writes)
		return nil, err
	}
	return func() { src.unlock(reads); dst.unlock(writes) }, nil
}
