// Package plantest makes stacks for the tests of plans.
package plantest

import (
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// Forked is a destination whose first half goes through one device and whose
// second half through another, both on one disk.
func Forked(t *testing.T, locked bool, owner remap.Owner) (*remap.Stack, map[string]remap.Dev) {
	t.Helper()
	devs := map[string]remap.Dev{
		"disk": {Major: 8}, "one": {Major: 253, Minor: 1}, "two": {Major: 253, Minor: 2}, "top": {Major: 253, Minor: 3},
	}
	st, err := remap.New([]*remap.Node{
		{Dev: devs["disk"], Size: 200, BlockSize: 512, Leaf: &remap.Leaf{}},
		{Dev: devs["one"], Size: 100, BlockSize: 512, Condition: remap.Condition{Mutable: true}, Quirks: remap.Quirks{Locked: locked}, Owner: owner, Layer: remap.Shifted{Layer: "dm:linear", Dev: devs["disk"]}},
		{Dev: devs["two"], Size: 100, BlockSize: 512, Condition: remap.Condition{Mutable: true}, Layer: remap.Shifted{Layer: "dm:linear", Dev: devs["disk"], Start: 100}},
		{Dev: devs["top"], Size: 200, BlockSize: 512, Condition: remap.Condition{Mutable: true}, Layer: halves{devs["one"], devs["two"]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, devs
}

// halves maps a device of 200 sectors onto two of 100.
type halves [2]remap.Dev

func (h halves) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	i := s / 100
	return remap.Place{Len: min(n, 100-s%100), Kind: remap.Data, Leg: remap.Leg{Dev: h[i], Start: s % 100, Readable: true}, Layer: "dm:linear"}
}

func (h halves) Below() []remap.Dev { return h[:] }
