package plan

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// TestProofs: a proof counts for a while and for leaves that look as they did; what has failed is
// not tried again.
func TestProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewProofs()
		a, b := &remap.Node{Dev: remap.Dev{Major: 8}}, &remap.Node{Dev: remap.Dev{Major: 8, Minor: 16}}
		other := &remap.Node{Dev: b.Dev, Print: remap.Fingerprint{1}}
		k.Prove(a, b)
		if !k.Proven(a, b) || k.Proven(b, a) || k.Proven(a, other) {
			t.Errorf("proven: %v, the other way %v, another leaf %v", k.Proven(a, b), k.Proven(b, a), k.Proven(a, other))
		}
		time.Sleep(keepFor + time.Second)
		if k.Proven(a, b) {
			t.Error("proven for ever")
		}
		k.Prove(a, b)
		k.Reject(a, b, ReasonUnproven)
		time.Sleep(24 * time.Hour)
		if why, is := k.Rejected(a, b); !is || why != ReasonUnproven || k.Proven(a, b) {
			t.Errorf("rejected: %v, %v; proven: %v", is, why, k.Proven(a, b))
		}
	})
}
