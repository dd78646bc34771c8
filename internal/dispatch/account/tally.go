package account

import (
	"cmp"
	"maps"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// ReasonBytes tells how many bytes were not offloaded for one reason.
type ReasonBytes struct {
	Reason remap.Reason `json:"reason"`
	Bytes  int64        `json:"bytes"`
}

// Tally counts bytes by method and reason.
type Tally struct {
	Methods map[Method]int64
	Reasons map[remap.Reason]int64
}

func NewTally() Tally {
	return Tally{Methods: make(map[Method]int64), Reasons: make(map[remap.Reason]int64)}
}

// Add adds bytes, fewer than none as well. No reason is kept that is none any more.
func (t Tally) Add(m Method, why remap.Reason, bytes int64) {
	t.Methods[m] += bytes
	if why == "" {
		return
	}
	if t.Reasons[why] += bytes; t.Reasons[why] == 0 {
		delete(t.Reasons, why)
	}
}

// Sorted lists the reasons, the most bytes first.
func (t Tally) Sorted() []ReasonBytes {
	list := make([]ReasonBytes, 0, len(t.Reasons))
	for _, why := range slices.Sorted(maps.Keys(t.Reasons)) {
		list = append(list, ReasonBytes{why, t.Reasons[why]})
	}
	slices.SortStableFunc(list, func(a, b ReasonBytes) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list
}
