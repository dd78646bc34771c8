package blocks

import "sync"

// Limits bound the commands of a protocol.
type Limits[L any] interface {
	comparable

	// Half is the next smaller try. ok is false when there is nothing left to halve.
	Half() (smaller L, ok bool)
}

// Sizes are the limits that the commands of a pair are made to. Batches that run at
// the same time share them.
type Sizes[L Limits[L]] struct {
	mu  sync.Mutex
	now L
}

// Limits that the next commands will be made to.
func (s *Sizes[L]) Limits() L {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Set replaces the limits.
func (s *Sizes[L]) Set(limits L) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = limits
}

// Shrink halves the limits, unless another batch has changed them since they were
// used, and says whether there is something left to try.
func (s *Sizes[L]) Shrink(used L) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != used {
		return true
	}
	smaller, ok := s.now.Half()
	s.now = smaller
	return ok
}
