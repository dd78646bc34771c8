package record

import (
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// maxInvalidations is how often what was copied may turn out to be no copy any more.
const maxInvalidations = 8

// Recheck is an entry of the record of which a part has to be compared again, because an end was moved.
type Recheck struct {
	number int               // of the entry
	Moved  []byterange.Range // does not lie where it lay
	whole  []byterange.Range // of that, what has to be compared as a whole
	marked []byterange.Range // may have been written elsewhere, and lies where it lay
	// ofSource: the source does not lie where it lay when it was read.
	ofSource bool
}

func (s *Recheck) Ranges() []byterange.Range { return slices.Concat(s.Moved, s.marked) }

// Rechecks lists the entries that have to be compared again, and which part of each has moved
// between two plans: at the destination, and at the source, unless src is zero.
func (r *Record) Rechecks(was, now *plan.Plan, src, dst remap.Dev) []Recheck {
	marked := r.marked
	r.marked = nil
	look := mover(was, now, src, dst)
	var list []Recheck
	for i, s := range r.entries {
		found := Recheck{number: i}
		for _, g := range s.ranges {
			moved, whole, ofSource := look(g)
			markedHere, _ := byterange.Divide(byterange.Without([]byterange.Range{g}, moved), byterange.Runs(marked))
			found.Moved, found.marked = append(found.Moved, moved...), append(found.marked, markedHere...)
			found.whole = append(found.whole, whole...)
			found.ofSource = found.ofSource || ofSource
		}
		if len(found.Moved)+len(found.marked) > 0 {
			list = append(list, found)
		}
	}
	return list
}

// mover finds what of a range has moved between two plans, at either end.
func mover(was, now *plan.Plan, src, dst remap.Dev) func(byterange.Range) (moved, whole []byterange.Range, ofSource bool) {
	if was.Layout == nil || now.Layout == nil {
		return func(byterange.Range) (moved, whole []byterange.Range, ofSource bool) { return nil, nil, false }
	}
	look := remap.NewPlaces(was.Layout, now.Layout, plan.SameDisk)
	return func(g byterange.Range) (moved, whole []byterange.Range, ofSource bool) {
		if was.Layout.Node(dst) != nil {
			moved, whole = plan.Displaced(look, dst, g)
		}
		if was.Layout.Node(src) != nil {
			reread, all := plan.DisplacedSource(look, src, g)
			moved = append(moved, byterange.Without(reread, moved)...)
			whole = append(whole, byterange.Without(all, whole)...)
			ofSource = len(reread) > 0
		}
		return moved, whole, ofSource
	}
}

// Sampled picks what to compare: all of it, or the beginning, the end and more of each
// entry; and all that another kind of layer keeps.
func Sampled(rechecks []Recheck) []byterange.Range {
	var total int64
	for _, s := range rechecks {
		total += byterange.Length(s.Ranges())
	}
	var picked []byterange.Range
	for _, s := range rechecks {
		some := s.Ranges()
		if total > RecheckPlaces*RecheckBytes {
			share := float64(RecheckPlaces) * float64(byterange.Length(some)) / float64(total)
			some = byterange.Stretches(some, max(int(share), 2), RecheckBytes)
		}
		rest := byterange.Without(some, s.whole)
		picked = slices.Concat(picked, s.whole, rest)
	}
	return picked
}

// Invalidate drops the entries: their ranges are not done any more. It returns the ranges.
func (r *Record) Invalidate(rechecks []Recheck) ([]byterange.Range, error) {
	how := howMoved(rechecks)
	if r.invalidations++; r.invalidations > maxInvalidations {
		return nil, failure.During("verify", fmt.Errorf("%w: %d times, %s", failure.ErrLayout, r.invalidations, how))
	}
	var again []byterange.Range
	for _, s := range slices.Backward(rechecks) {
		lost := r.entries[s.number]
		r.entries = slices.Delete(r.entries, s.number, s.number+1)
		r.account.Remove(lost.share)
		again = append(again, lost.ranges...)
	}
	if _, err := r.Withdraw(again); err != nil {
		return nil, err
	}
	r.bad = 0 // what could not be read is tried again
	r.account.Count(account.Recopied, byterange.Length(again))
	r.log.Warn(how+": copying it again", "bytes", byterange.Length(again))
	return again, nil
}

// howMoved says which end was moved, and how, so that what was copied is no copy any more.
func howMoved(rechecks []Recheck) string {
	switch {
	case slices.ContainsFunc(rechecks, func(s Recheck) bool { return s.ofSource }):
		return "the source was moved without what had been copied of it"
	case slices.ContainsFunc(rechecks, func(s Recheck) bool { return len(s.Moved) > 0 }):
		return "the destination was moved without what had been copied to it"
	}
	return "the source or the destination was another one for a moment, or was made smaller, while it was copied"
}

const (
	// What was done earlier is compared in so many places, of RecheckBytes each, before it is
	// relied on.
	RecheckPlaces = 64
	RecheckBytes  = 256 << 10
)

// MarkForRecheck has ranges compared again: what was written of them may have gone elsewhere.
func (r *Record) MarkForRecheck(ranges []byterange.Range) { r.marked = append(r.marked, ranges...) }
