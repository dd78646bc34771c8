package plan

import (
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// keepFor is how long a proof of a pair counts for the next copy. A device can be given another
// firmware, and a target another configuration, without anybody hearing of it.
const keepFor = 10 * time.Minute

// Known is what was found out about leaves. It outlives a plan and a copy, and can be used by
// several at a time. A leaf that does not look as it did ([remap.Node.Print]) is another one.
type Known struct {
	mu        sync.Mutex
	poisoned  map[[2]twin]remap.Reason // pairs that have failed, or told that they cannot copy
	proven    map[[2]twin]time.Time    // pairs that do what they say, and until when that counts
	different map[[2]twin]bool         // disks of one name that were seen to be different ones
}

// NewKnown knows nothing.
func NewKnown() *Known {
	return &Known{poisoned: make(map[[2]twin]remap.Reason), proven: make(map[[2]twin]time.Time), different: make(map[[2]twin]bool)}
}

// Poison keeps a pair from being used again, for a reason. It stays so: whoever has used the
// pair has proven it before it failed, and would use it again without a proof.
func (k *Known) Poison(src, dst *remap.Node, why remap.Reason) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pair := twinsOf(src, dst)
	k.poisoned[pair] = why
	delete(k.proven, pair)
}

// Poisoned tells whether a pair is not to be used, and why.
func (k *Known) Poisoned(src, dst *remap.Node) (why remap.Reason, is bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	why, is = k.poisoned[twinsOf(src, dst)]
	return why, is
}

// Prove notes that a pair was seen to do what it said.
func (k *Known) Prove(src, dst *remap.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proven[twinsOf(src, dst)] = time.Now().Add(keepFor)
}

// Proven tells whether a pair was seen to do what it said, not long ago.
func (k *Known) Proven(src, dst *remap.Node) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().Before(k.proven[twinsOf(src, dst)])
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

// Key names a pair of leaves within one window.
type Key struct{ Src, Dst remap.Dev }
