package plan

import (
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/remap"
)

// keepFor is how long a proof of a pair, or that it does not copy, counts for the next copy. A
// device can be given another firmware, and a target another configuration, without anybody
// hearing of it.
const keepFor = 10 * time.Minute

// Proofs keeps what copies have found out about pairs of leaves, for later ones. Several copies
// use it at a time, each by a [Trust] of its own. A leaf whose [remap.Node.Print] has changed
// counts as another leaf, and what was found out counts no longer than until something happens to it
// ([copydomain.Epoch]).
type Proofs struct {
	epoch func(*remap.Node) copydomain.Epoch

	mu       sync.Mutex
	rejected map[pairKey]rejection
	proven   map[pairKey]proven
}

// proven is until when a proof counts, and on what ground.
type proven struct {
	until  time.Time
	ground Ground
}

// rejection is why a pair must not be used.
type rejection struct {
	why    remap.Reason
	until  time.Time
	ground Ground
}

// NewProofs is empty. It is told of the epochs of leaves.
func NewProofs(epoch func(*remap.Node) copydomain.Epoch) *Proofs {
	return &Proofs{epoch: epoch, rejected: make(map[pairKey]rejection), proven: make(map[pairKey]proven)}
}

// Ground is what a proof of a pair stands on: both leaves, as they are and have been for a while.
type Ground struct {
	pair   pairKey
	epochs [2]copydomain.Epoch
}

// Lost tells whether something is known to have happened to the ground, by now.
func (g Ground) Lost(now Ground) bool {
	return g.pair != now.pair || g.epochs[0].Passed(now.epochs[0]) || g.epochs[1].Passed(now.epochs[1])
}

// lasts tells whether it is known that nothing has happened to the ground until now.
func (g Ground) lasts(now Ground) bool {
	return g.pair == now.pair && g.epochs[0].Until(now.epochs[0]) && g.epochs[1].Until(now.epochs[1])
}

func (p *Proofs) ground(src, dst *remap.Node) Ground {
	g := Ground{pair: pairKeyOf(src, dst)}
	g.epochs[0] = p.epoch(src)
	g.epochs[1] = g.epochs[0]
	if src != dst {
		g.epochs[1] = p.epoch(dst)
	}
	return g
}

// Trust is what a copy that begins now trusts.
func (p *Proofs) Trust() *Trust {
	return &Trust{earlier: p, rejected: make(map[pairKey]remap.Reason), distinctPairs: make(map[pairKey]bool)}
}

// reject ends the proof of a pair. A device that has said that it had copied, and had not, is not
// asked again for as long as it looks as it does: the next sample may be right by chance. Whatever
// else keeps a pair from copying passes, as a new firmware does that does not know the command;
// then the pair has to prove itself.
func (p *Proofs) reject(src, dst *remap.Node, why remap.Reason) {
	ground := p.ground(src, dst)
	p.mu.Lock()
	defer p.mu.Unlock()
	r := rejection{why: why, until: time.Now().Add(keepFor), ground: ground}
	if before := p.rejected[ground.pair]; before.why == ReasonProofFailed {
		r.why = ReasonProofFailed
	}
	p.rejected[ground.pair] = r
	delete(p.proven, ground.pair)
}

func (p *Proofs) isRejected(src, dst *remap.Node) (why remap.Reason, rejected bool) {
	pair := pairKeyOf(src, dst)
	p.mu.Lock()
	r, rejected := p.rejected[pair]
	p.mu.Unlock()
	if !rejected || r.why == ReasonProofFailed {
		return r.why, rejected
	}
	if time.Now().Before(r.until) && !r.ground.Lost(p.ground(src, dst)) {
		return r.why, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rejected[pair] == r { // and not by another copy since
		delete(p.rejected, pair)
	}
	return "", false
}

func (p *Proofs) prove(ground Ground) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven[ground.pair] = proven{time.Now().Add(keepFor), ground}
}

func (p *Proofs) isProven(now Ground) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	is, known := p.proven[now.pair]
	return known && time.Now().Before(is.until) && is.ground.lasts(now)
}

// leafKey names a leaf as it was when something was found out about it.
type leafKey struct {
	dev   remap.Dev
	print remap.Fingerprint
	file  string // that stands below a number which is another file's in another copy
}

// pairKey names a source and a destination.
type pairKey [2]leafKey

func pairKeyOf(src, dst *remap.Node) pairKey { return pairKey{leafKeyOf(src), leafKeyOf(dst)} }

func leafKeyOf(n *remap.Node) leafKey {
	k := leafKey{dev: n.Dev, print: n.Print}
	if IsFileDev(n.Dev) && n.Storage != nil {
		k.file = n.Storage.ID
	}
	return k
}

// Key names a pair of leaves within one window.
type Key struct{ Src, Dst remap.Dev }
