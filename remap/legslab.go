package remap

import "sync/atomic"

// mostLegs is how many legs an array of a LegSlab has at most. Each has twice as many as the
// one before. Whoever keeps a place keeps an array.
const mostLegs = 256

// LegSlab hands out slices of large arrays for the legs of places, so that answers which are kept
// by whoever asked do not cost an allocation each. The zero LegSlab is ready for use, by several
// goroutines at once.
type LegSlab struct {
	current atomic.Pointer[legArray]
}

type legArray struct {
	used atomic.Int64
	legs []Leg
}

// Take returns an empty slice with room for n legs, which nobody else has. To append more moves
// it elsewhere.
func (s *LegSlab) Take(n int) []Leg {
	before := 0
	if a := s.current.Load(); a != nil {
		if end := int(a.used.Add(int64(n))); end <= len(a.legs) {
			return a.legs[end-n : end-n : end]
		}
		before = len(a.legs)
	}
	a := &legArray{legs: make([]Leg, max(n, min(2*before, mostLegs)))}
	a.used.Store(int64(n))
	s.current.Store(a)
	return a.legs[0:0:n]
}
