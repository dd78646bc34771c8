package record

import (
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
)

// An entry is a part of a copy that is done: one window or several, with what they were
// counted as, so that it can be taken out of the count when it has to be done again.
type entry struct {
	ranges []byterange.Range
	share  account.Share
}

// maxEntries bounds the memory of a record.
const maxEntries = 1 << 10

// Note adds what was done, and what it was counted as. When there are many entries, neighbours
// become one.
func (r *Record) Note(ranges []byterange.Range, share account.Share) {
	if len(ranges) == 0 {
		return
	}
	r.entries = append(r.entries, entry{ranges, share})
	if len(r.entries) < maxEntries {
		return
	}
	joined := r.entries[:0]
	for pair := range slices.Chunk(r.entries, 2) {
		e := pair[0]
		if len(pair) > 1 {
			e = e.and(pair[1])
		}
		joined = append(joined, e)
	}
	clear(r.entries[len(joined):])
	r.entries = joined
}

// and is both entries as one.
func (e entry) and(other entry) entry {
	all := slices.Clone(e.ranges)
	for _, g := range other.ranges {
		all = byterange.Join(all, g)
	}
	return entry{all, e.share.Plus(other.share)}
}
