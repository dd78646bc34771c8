package exstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// MaxRuns bounds the memory of a store: 24 bytes a run. Consecutive chunks
// that were copied to consecutive chunks are one run.
const MaxRuns = 1 << 23

var errTooBig = errors.New("too many exceptions")

// run is n exceptions: old+i is at new+i.
type run struct {
	old, new, n uint64
}

func (r run) continues(previous run) bool {
	return r.old == previous.old+previous.n && r.new == previous.new+previous.n
}

// add appends a run that passed checkRun.
func add(runs []run, r run) ([]run, error) {
	if last := len(runs) - 1; last >= 0 && r.continues(runs[last]) {
		runs[last].n += r.n
		return runs, nil
	}
	if len(runs) == MaxRuns {
		return nil, errTooBig
	}
	return append(runs, r), nil
}

// index sorts runs by their old chunks and joins those that continue each
// other. No chunk may have been copied twice, and no two to the same place.
func index(runs []run) ([]run, error) {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.new, b.new) })
	for i := 1; i < len(runs); i++ {
		if runs[i].new-runs[i-1].new < runs[i-1].n {
			return nil, fmt.Errorf("%w: two chunks are copied to chunk %d", ErrFormat, runs[i].new)
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.old, b.old) })
	for i := 1; i < len(runs); i++ {
		if runs[i].old-runs[i-1].old < runs[i-1].n {
			return nil, fmt.Errorf("%w: chunk %d is copied twice", ErrFormat, runs[i].old)
		}
	}
	return join(runs), nil
}

// join joins sorted runs that continue each other, in place.
func join(runs []run) []run {
	joined := runs[:0]
	for _, r := range runs {
		if last := len(joined) - 1; last >= 0 && r.continues(joined[last]) {
			joined[last].n += r.n
			continue
		}
		joined = append(joined, r)
	}
	return joined
}
