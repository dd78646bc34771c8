package journal

import (
	"fmt"
	"time"
)

// Version of the format.
const Version = 1

// Stage of a copy.
type Stage string

const (
	// Copying: begun, and not known to be complete.
	Copying Stage = "copying"
	// Complete: everything is done, durable, and checked if that was asked for.
	Complete Stage = "complete"
)

// State is what the file holds.
type State struct {
	// Job is random, and the key of the samples.
	Job [16]byte
	// Created is when the copy was begun, to the second, in UTC.
	Created time.Time
	// Directory and Command are how: arguments, without the program's name.
	Directory string
	Command   []string
	Plan      Plan
	// Samples of the source, once they were taken.
	Samples []Sample
	// Writer has written the file.
	Writer Process
	Stage  Stage
	Map    Map
}

// Limits of a file.
const (
	// maxExtents bounds the lines of the map.
	maxExtents = 1 << 20
	// manyExtents is when a map is kept small at the price of the methods.
	manyExtents = 1 << 13
	// maxBytes bounds what is read.
	maxBytes = 128 << 20
	// maxText bounds names and the command line, in bytes.
	maxText = 1 << 20
	// maxSamples bounds the samples.
	maxSamples = 1 << 10
)

// check finds what no copy can have written.
func (s *State) check() error {
	r := s.Plan.Ranges
	for _, e := range []End{s.Plan.Source, s.Plan.Destination} {
		if e.Size < 0 || len(e.Name)+len(e.Identity)+len(e.Version) > maxText {
			return fmt.Errorf("%w: impossible device", ErrFormat)
		}
	}
	switch {
	case r.Count < 0 || r.Bytes < 0 || r.From < 0 || r.To < r.From || r.To > s.Plan.Destination.Size || r.Bytes > r.To-r.From:
		return fmt.Errorf("%w: impossible ranges", ErrFormat)
	case r.First.Src < 0 || r.First.Dst < r.From || r.First.Len < 0 || r.First.Len > r.To-r.First.Dst:
		return fmt.Errorf("%w: impossible first range", ErrFormat)
	case r.Count == 0 && (r != Ranges{Print: r.Print}), r.Count == 1 && (r.First.Len != r.Bytes || r.Bytes != r.To-r.From):
		return fmt.Errorf("%w: ranges contradict each other", ErrFormat)
	case s.Stage != Copying && s.Stage != Complete:
		return fmt.Errorf("%w: impossible stage", ErrFormat)
	case len(s.Samples) > maxSamples:
		return fmt.Errorf("%w: impossible samples", ErrFormat)
	}
	for _, sample := range s.Samples {
		if !sample.valid() {
			return fmt.Errorf("%w: impossible sample", ErrFormat)
		}
	}
	return s.checkMap()
}

func (s *State) checkMap() error {
	r := s.Plan.Ranges
	at, sum := r.From, int64(0)
	for _, e := range s.Map.extents {
		if e.Off < at || e.Len <= 0 || e.Len > r.To-e.Off || (e.Status != Done && e.Status != Bad) || !validMethod(e.Method) {
			return fmt.Errorf("%w: impossible map", ErrFormat)
		}
		at = e.end()
		sum += e.Len
	}
	if sum > r.Bytes {
		return fmt.Errorf("%w: more is done than was asked for", ErrFormat)
	}
	return nil
}

// validMethod keeps a method to a word.
func validMethod(method string) bool {
	for _, c := range method {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(method) <= 32
}

// lies tells whether the map lies within the ranges.
func (m *Map) lies(ranges []Range) bool {
	var left Map
	for _, e := range m.extents {
		left.Put(Extent{Off: e.Off, Len: e.Len, Status: Done})
	}
	for _, r := range ranges {
		left.Put(Extent{Off: r.Dst, Len: r.Len, Status: Pending})
	}
	return len(left.extents) == 0
}
