package dispatch

import (
	"maps"
	"slices"
)

// An entry is a part of a copy that is done: one window or several, with what they were
// counted as, so that it can be taken out of the count when it has to be done again.
type entry struct {
	ranges []Range
	account
}

// account says what bytes were counted as.
type account struct {
	offloaded, host, zeroed, skipped, failed int64
	tally
}

// account is what was counted so far.
func (r *run) account() account {
	c := &r.counters
	return account{
		c.offloaded.Load(), c.host.Load(), c.zeroed.Load(), c.skipped.Load(), c.failed.Load(),
		tally{maps.Clone(r.tally.methods), maps.Clone(r.tally.reasons)},
	}
}

// plus adds b, or takes it away if sign is -1.
func (a account) plus(b account, sign int64) account {
	sum := account{
		a.offloaded + sign*b.offloaded, a.host + sign*b.host, a.zeroed + sign*b.zeroed, a.skipped + sign*b.skipped, a.failed + sign*b.failed,
		tally{maps.Clone(a.methods), maps.Clone(a.reasons)},
	}
	addEach(sum.methods, b.methods, sign)
	addEach(sum.reasons, b.reasons, sign)
	return sum
}

// addEach keeps no zeroes.
func addEach[K comparable](to, from map[K]int64, sign int64) {
	for k, n := range from {
		if to[k] += sign * n; to[k] == 0 {
			delete(to, k)
		}
	}
}

// uncount takes an entry out of what was counted.
func (r *run) uncount(s entry) {
	c := &r.counters
	c.offloaded.Add(-s.offloaded)
	c.host.Add(-s.host)
	c.zeroed.Add(-s.zeroed)
	c.skipped.Add(-s.skipped)
	c.failed.Add(-s.failed)
	addEach(r.tally.methods, s.methods, -1)
	addEach(r.tally.reasons, s.reasons, -1)
}

// maxEntries bounds the memory of a diary.
const maxEntries = 1 << 10

// diary lists what is done, in the order in which it was done.
type diary struct{ entries []entry }

// note adds an entry. When there are many, neighbours become one.
func (d *diary) note(ranges []Range, a account) {
	if len(ranges) == 0 {
		return
	}
	d.entries = append(d.entries, entry{ranges, a})
	if len(d.entries) < maxEntries {
		return
	}
	joined := d.entries[:0]
	for pair := range slices.Chunk(d.entries, 2) {
		s := pair[0]
		if len(pair) > 1 {
			s = entry{joinRanges(s.ranges, pair[1].ranges), s.plus(pair[1].account, 1)}
		}
		joined = append(joined, s)
	}
	clear(d.entries[len(joined):])
	d.entries = joined
}

// joinRanges adds ranges to others, and joins neighbours.
func joinRanges(list, more []Range) []Range {
	list = slices.Clone(list)
	for _, g := range more {
		if n := len(list); n > 0 && list[n-1].Src+list[n-1].Len == g.Src && list[n-1].Dst+list[n-1].Len == g.Dst {
			list[n-1].Len += g.Len
			continue
		}
		list = append(list, g)
	}
	return list
}
