package plan

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/remap"
)

// quiet are epochs of leaves to which nothing happens.
func quiet(*remap.Node) copydomain.Epoch { return copydomain.Epoch{} }

var leafA, leafB = &remap.Node{Dev: remap.Dev{Major: 8}}, &remap.Node{Dev: remap.Dev{Major: 8, Minor: 16}}

// proven tells whether a copy trusts a pair.
func (t *Trust) proven(src, dst *remap.Node) bool { return t.Proven(t.Ground(src, dst)) }

func (t *Trust) proveNow(src, dst *remap.Node) { t.Prove(t.Ground(src, dst)) }

// TestProofs: a proof counts for a while and for leaves that look as they did. What has failed is
// not tried again by the copy that has seen it fail, and for a while by no other one; what has
// failed its proof is not tried again.
func TestProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proofs := NewProofs(quiet)
		k := proofs.Trust()
		a, b := leafA, leafB
		other := &remap.Node{Dev: b.Dev, Print: remap.Fingerprint{1}}
		k.proveNow(a, b)
		if !k.proven(a, b) || !proofs.Trust().proven(a, b) || k.proven(b, a) || k.proven(a, other) {
			t.Errorf("proven: %v, for another copy %v, the other way %v, another leaf %v", k.proven(a, b), proofs.Trust().proven(a, b), k.proven(b, a), k.proven(a, other))
		}
		time.Sleep(keepFor + time.Second)
		if k.proven(a, b) {
			t.Error("proven for ever")
		}
		k.proveNow(a, b)
		k.Reject(a, b, ReasonUnproven)
		if why, is := proofs.Trust().Rejected(a, b); !is || why != ReasonUnproven || k.proven(a, b) {
			t.Errorf("rejected for another copy: %v, %v; proven: %v", is, why, k.proven(a, b))
		}
		time.Sleep(24 * time.Hour)
		if why, is := k.Rejected(a, b); !is || why != ReasonUnproven {
			t.Errorf("rejected for the copy: %v, %v", is, why)
		}
		next := proofs.Trust()
		if _, is := next.Rejected(a, b); is || next.proven(a, b) {
			t.Errorf("a day later: rejected %v, proven %v", is, next.proven(a, b))
		}
		next.Reject(a, b, ReasonProofFailed)
		next.Reject(a, b, ReasonUnproven) // which does not make it better
		time.Sleep(24 * time.Hour)
		last := proofs.Trust()
		if why, is := last.Rejected(a, b); !is || why != ReasonProofFailed {
			t.Errorf("after it has failed its proof: %v, %v", is, why)
		}
		if _, is := last.Rejected(a, other); is {
			t.Error("so is another leaf")
		}
	})
}

// silence are events of which none comes.
type silence struct{ list []copydomain.Event }

func (s *silence) Take() ([]copydomain.Event, error) {
	list := s.list
	s.list = nil
	return list, nil
}

func (s *silence) Close() error { return nil }

// TestProofsEnd: what was found out of a pair ends when something happens to one of its leaves, whenever that
// is heard of; but one that has failed its proof does not become better by it.
func TestProofsEnd(t *testing.T) {
	for name, leaf := range map[string]*remap.Node{"the source": leafA, "the destination": leafB} {
		f, s := copydomain.NewOfflineFinder(), &silence{}
		f.Follow(copydomain.Sources{Events: func() (copydomain.Events, error) { return s, nil }})
		happen := func() { s.list = append(s.list, copydomain.Event{Subsystem: "block", Dev: leaf.Dev}) }
		proofs := NewProofs(f.Epoch)
		k := proofs.Trust()
		k.proveNow(leafA, leafB)
		k.proveNow(leafB, leafA)
		if !k.proven(leafA, leafB) {
			t.Errorf("%s: nothing has happened", name)
		}
		happen()
		if k.proven(leafA, leafB) || k.proven(leafB, leafA) {
			t.Errorf("%s: proven although something has happened", name)
		}
		// What happens between a command and the note of it ends the proof.
		before := k.Ground(leafA, leafB)
		happen()
		k.Prove(before)
		if k.proven(leafA, leafB) || !before.Lost(k.Ground(leafA, leafB)) {
			t.Errorf("%s: proven by a command from before", name)
		}
		k.Reject(leafA, leafB, ReasonUnproven)
		if _, is := proofs.Trust().Rejected(leafA, leafB); !is {
			t.Errorf("%s: not rejected", name)
		}
		happen()
		if _, is := k.Rejected(leafA, leafB); !is {
			t.Errorf("%s: the copy that has seen it fail tries again", name)
		}
		if _, is := proofs.Trust().Rejected(leafA, leafB); is {
			t.Errorf("%s: rejected although something has happened", name)
		}
		k.Reject(leafA, leafB, ReasonProofFailed)
		happen()
		if _, is := proofs.Trust().Rejected(leafA, leafB); !is {
			t.Errorf("%s: what has failed its proof is tried again", name)
		}
	}
}

// TestProofsUnheard: where nobody hears what happens, each copy proves for itself. Within one, that is no
// reason to prove again and again.
func TestProofsUnheard(t *testing.T) {
	f := copydomain.NewOfflineFinder()
	f.Follow(copydomain.Sources{Events: func() (copydomain.Events, error) { return nil, unix.EAFNOSUPPORT }})
	k := NewProofs(f.Epoch).Trust()
	before := k.Ground(leafA, leafB)
	k.Prove(before)
	if k.proven(leafA, leafB) || before.Lost(k.Ground(leafA, leafB)) {
		t.Errorf("proven %v, lost %v", k.proven(leafA, leafB), before.Lost(k.Ground(leafA, leafB)))
	}
	k.Reject(leafA, leafB, ReasonUnproven)
	if _, is := k.earlier.Trust().Rejected(leafA, leafB); !is {
		t.Error("not rejected")
	}
}

// TestProofsOfFiles: the numbers that stand for files are those of others in the next copy.
func TestProofsOfFiles(t *testing.T) {
	file := func(dev remap.Dev, id string) *remap.Node {
		return &remap.Node{Dev: dev, Storage: &remap.Storage{ID: id}}
	}
	a, b := file(SrcFile, "file:8:1:100"), file(DstFile, "file:8:1:101")
	k := NewProofs(quiet).Trust()
	k.proveNow(a, b)
	if !k.proven(a, b) || k.proven(a, file(DstFile, "file:8:1:102")) || k.proven(file(SrcFile, "file:8:1:103"), b) {
		t.Error("other files are proven")
	}
	k.Reject(a, b, ReasonProofFailed)
	if _, is := k.Rejected(a, file(DstFile, "file:8:1:102")); is {
		t.Error("other files are rejected")
	}
}

// TestDistinctForOneCopy: which disks of one name are different ones is for each copy to find out.
func TestDistinctForOneCopy(t *testing.T) {
	proofs := NewProofs(quiet)
	k := proofs.Trust()
	k.markDistinct(leafA, leafB)
	if !k.distinct(leafA, leafB) || proofs.Trust().distinct(leafA, leafB) {
		t.Errorf("distinct: %v, for another copy %v", k.distinct(leafA, leafB), proofs.Trust().distinct(leafA, leafB))
	}
}
