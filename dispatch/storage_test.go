package dispatch

import (
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// TestPathsOfOneDisk: what is read through one path and written through another
// is one storage, as far as the disks tell.
func TestPathsOfOneDisk(t *testing.T) {
	node := func(minor uint32, size remap.Sector, identity string) *remap.Node {
		return &remap.Node{Dev: remap.Dev{Major: 8, Minor: minor}, Size: size, BlockSize: 512, Leaf: &remap.Leaf{Identity: identity}}
	}
	for name, c := range map[string]struct {
		other *remap.Node
		want  bool
	}{
		"the same name":               {node(2, 1000, "naa.1"), true},
		"another name":                {node(2, 1000, "naa.2"), false},
		"the same name, another size": {node(2, 2000, "naa.1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := remap.New([]*remap.Node{node(1, 1000, "naa.1"), c.other, node(3, 1000, ""), node(4, 1000, "")})
			if err != nil {
				t.Fatal(err)
			}
			found := func(src, dst uint32, at remap.Sector) bool {
				piece := &remap.Piece{}
				piece.Src = remap.Extent{Len: 10, Kind: remap.Data, Leg: remap.Leg{Dev: remap.Dev{Major: 8, Minor: src}, Start: 100}}
				piece.Dst = remap.Extent{Len: 10, Kind: remap.Data, Leg: remap.Leg{Dev: remap.Dev{Major: 8, Minor: dst}, Start: at}}
				o := newOverlaps(st)
				o.add(piece)
				look := newCloseLook(o, 0, buckets, 2)
				look.add(piece)
				_, _, shared := look.shared()
				return shared && o.any()
			}
			if got := found(1, 2, 105); got != c.want {
				t.Errorf("shared: %v", got)
			}
			if found(1, 2, 110) {
				t.Error("neighbours are said to overlap")
			}
			if found(3, 4, 100) {
				t.Error("disks without names are taken for one")
			}
		})
	}
}
