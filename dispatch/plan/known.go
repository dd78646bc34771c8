package plan

import (
	"sync"

	"github.com/dmcopy/dmcopy/remap"
)

// Known is what was found out about leaves. It outlives a plan, and can be used by several
// at a time.
type Known struct {
	mu        sync.Mutex
	poisoned  map[[2]twin]remap.Reason // pairs that have failed, or told that they cannot copy
	different map[[2]twin]bool         // disks of one name that were seen to be different ones
}

// NewKnown knows nothing.
func NewKnown() *Known {
	return &Known{poisoned: make(map[[2]twin]remap.Reason), different: make(map[[2]twin]bool)}
}

// Poison keeps a pair from being used again, for a reason.
func (k *Known) Poison(src, dst *remap.Node, why remap.Reason) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.poisoned[twinsOf(src, dst)] = why
}

// Poisoned tells whether a pair is not to be used, and why.
func (k *Known) Poisoned(src, dst *remap.Node) (why remap.Reason, is bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	why, is = k.poisoned[twinsOf(src, dst)]
	return why, is
}

// tell notes that two disks of one name are different ones.
func (k *Known) tell(a, b *remap.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.different[twinsOf(a, b)] = true
}

// told tells whether two disks of one name are known to be different ones.
func (k *Known) told(a, b *remap.Node) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.different[twinsOf(a, b)]
}

// apart tells whether all of these disks are known to be different ones.
func (k *Known) apart(all []*remap.Node) bool {
	for i, a := range all {
		for _, b := range all[:i] {
			if !k.told(a, b) {
				return false
			}
		}
	}
	return true
}

type Key struct{ Src, Dst remap.Dev }
