package plan

import (
	"sync"

	"github.com/dmcopy/dmcopy/remap"
)

// Trust is what one copy trusts of pairs of leaves: what earlier copies have found out, and what it
// has found out itself, which counts until it ends. Several goroutines can use it.
type Trust struct {
	earlier *Proofs

	mu            sync.Mutex
	rejected      map[pairKey]remap.Reason
	distinctPairs map[pairKey]bool // disks with one identity that hold different bytes
}

// Reject keeps a pair from being used again by this copy, and for a while by others, and says why.
// A copy that has rejected a pair would use it without a new proof.
func (t *Trust) Reject(src, dst *remap.Node, why remap.Reason) {
	pair := pairKeyOf(src, dst)
	t.mu.Lock()
	t.rejected[pair] = why
	t.mu.Unlock()
	t.earlier.reject(src, dst, why)
}

// Rejected tells whether a pair must not be used, and why.
func (t *Trust) Rejected(src, dst *remap.Node) (why remap.Reason, rejected bool) {
	pair := pairKeyOf(src, dst)
	t.mu.Lock()
	defer t.mu.Unlock()
	if why, rejected = t.rejected[pair]; rejected {
		return why, true
	}
	if why, rejected = t.earlier.isRejected(src, dst); rejected {
		t.rejected[pair] = why // asking again costs as much for each piece
	}
	return why, rejected
}

// Ground is what a proof of the pair that is made from now on stands on.
func (t *Trust) Ground(src, dst *remap.Node) Ground { return t.earlier.ground(src, dst) }

// Prove notes, for later copies, that a pair was seen to copy right, on a ground from before that.
func (t *Trust) Prove(ground Ground) { t.earlier.prove(ground) }

// Proven tells whether an earlier copy has seen the pair copy right, not more than ten minutes ago, and
// nothing has happened to either leaf since.
func (t *Trust) Proven(now Ground) bool { return t.earlier.isProven(now) }

// markDistinct notes that two disks with one identity are two disks. Another copy finds that out by
// itself, which costs it two reads: the name of a disk can come to lead to another one.
func (t *Trust) markDistinct(a, b *remap.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.distinctPairs[pairKeyOf(a, b)] = true
}

// distinct tells whether two disks with one identity are known to be two disks.
func (t *Trust) distinct(a, b *remap.Node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.distinctPairs[pairKeyOf(a, b)]
}

// allDistinct tells whether no two of these disks can be one.
func (t *Trust) allDistinct(all []*remap.Node) bool {
	for i, a := range all {
		for _, b := range all[:i] {
			if !t.distinct(a, b) {
				return false
			}
		}
	}
	return true
}
