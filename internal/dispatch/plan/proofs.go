package plan

import (
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// keepFor is how long a proof of a pair counts for the next copy. A device can be given another
// firmware, and a target another configuration, without anybody hearing of it.
const keepFor = 10 * time.Minute

// Proofs keeps what was proven of leaves, and what was refuted. It outlives a plan and a copy, and
// several copies can use it at a time. A leaf whose [remap.Node.Print] has changed counts as another
// leaf.
type Proofs struct {
	mu            sync.Mutex
	rejected      map[[2]leafKey]remap.Reason // pairs that have failed, or that a device does not copy between
	proven        map[[2]leafKey]time.Time    // pairs that were seen to copy right, and until when the proof counts
	distinctPairs map[[2]leafKey]bool         // disks with one identity that hold different bytes
}

// NewProofs is empty.
func NewProofs() *Proofs {
	return &Proofs{rejected: make(map[[2]leafKey]remap.Reason), proven: make(map[[2]leafKey]time.Time), distinctPairs: make(map[[2]leafKey]bool)}
}

// Reject keeps a pair from being used again, and says why. A rejection never expires: the pair had
// been proven before it failed, so another copy would use it without a new proof.
func (p *Proofs) Reject(src, dst *remap.Node, why remap.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pair := pairKeyOf(src, dst)
	p.rejected[pair] = why
	delete(p.proven, pair)
}

// Rejected tells whether a pair must not be used, and why.
func (p *Proofs) Rejected(src, dst *remap.Node) (why remap.Reason, rejected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	why, rejected = p.rejected[pairKeyOf(src, dst)]
	return why, rejected
}

// Prove notes that a pair was seen to copy right.
func (p *Proofs) Prove(src, dst *remap.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven[pairKeyOf(src, dst)] = time.Now().Add(keepFor)
}

// Proven tells whether a pair was seen to copy right within the last ten minutes.
func (p *Proofs) Proven(src, dst *remap.Node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.proven[pairKeyOf(src, dst)])
}

// markDistinct notes that two disks with one identity are two disks.
func (p *Proofs) markDistinct(a, b *remap.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.distinctPairs[pairKeyOf(a, b)] = true
}

// distinct tells whether two disks with one identity are known to be two disks.
func (p *Proofs) distinct(a, b *remap.Node) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.distinctPairs[pairKeyOf(a, b)]
}

// allDistinct tells whether no two of these disks can be one.
func (p *Proofs) allDistinct(all []*remap.Node) bool {
	for i, a := range all {
		for _, b := range all[:i] {
			if !p.distinct(a, b) {
				return false
			}
		}
	}
	return true
}

// Key names a pair of leaves within one window.
type Key struct{ Src, Dst remap.Dev }

// leafKey names a leaf as it was when something was found out about it.
type leafKey struct {
	dev   remap.Dev
	print remap.Fingerprint
}

func pairKeyOf(a, b *remap.Node) [2]leafKey {
	return [2]leafKey{{a.Dev, a.Print}, {b.Dev, b.Print}}
}
