package dispatch_test

import (
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestPoolIsNoDestination: what a pool holds belongs to its volumes. A volume
// on it is another matter.
func TestPoolIsNoDestination(t *testing.T) {
	pool := &dmtable.Table{Targets: []dmtable.Target{{
		Len: 2560, Type: "thin-pool", Params: "8:1 8:2 128 0 0 ", Status: "1 10/64 5/20 - rw discard_passdown queue_if_no_space - 1024 ",
	}}}
	leaf := func(minor uint32) *remap.Node {
		return &remap.Node{Dev: remap.Dev{Major: 8, Minor: minor}, Size: 2560, BlockSize: 512, Leaf: &remap.Leaf{}}
	}
	top := &remap.Node{Dev: remap.Dev{Major: 253}, Size: 2560, BlockSize: 512, Layer: pool.Layer(), Condition: remap.Condition{Mutable: true}}
	volume := &remap.Node{
		Dev: remap.Dev{Major: 253, Minor: 1}, Size: 100, BlockSize: 512, Condition: remap.Condition{Mutable: true},
		Layer: remap.Shifted{Layer: "dm:thin", Dev: top.Dev},
	}
	st, err := remap.New([]*remap.Node{leaf(1), leaf(2), top, volume})
	if err != nil {
		t.Fatal(err)
	}
	for dev, want := range map[remap.Dev]bool{top.Dev: true, volume.Dev: false, {Major: 8, Minor: 2}: false} {
		p, err := plan.New(t.Context(), &paper{fakestack.New(0), st}, plan.Request{
			Src: ends.Endpoint{Name: "src", Dev: remap.Dev{Major: 8, Minor: 1}}, Dst: ends.Endpoint{Name: "dst", Dev: dev}, Trust: plan.NewProofs(fakestack.New(0).Epoch).Trust(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Survey(t.Context(), nil); errors.Is(err, failure.ErrRefused) != want || err != nil && !want {
			t.Errorf("%s: %v, refused: %v", dev, err, want)
		}
	}
}
