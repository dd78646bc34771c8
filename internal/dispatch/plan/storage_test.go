package plan

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
		"the same name, another size": {node(2, 2000, "naa.1"), true},
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
				o := newOverlaps(st, NewProofs(quiet).Trust())
				o.add(piece)
				look := newExactCheck(o, 0, buckets, 2)
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

// TestLoopsOnOneFile: what is read through one loop device and written through
// another is one storage, wherever they begin in their file.
func TestLoopsOnOneFile(t *testing.T) {
	loop := func(minor uint32, s remap.Storage) *remap.Node {
		return &remap.Node{
			Dev: remap.Dev{Major: 7, Minor: minor}, Size: 1 << 20, BlockSize: 512, Storage: &s,
			Layer: remap.OpaqueLayer{Layer: "loop", Reason: "layer:loop"},
		}
	}
	const file, other = "file:8:1:100", "file:8:1:101"
	for name, c := range map[string]struct {
		src, dst remap.Storage
		from, to remap.Sector
		want     bool
	}{
		"the same place":                 {remap.Storage{ID: file}, remap.Storage{ID: file}, 100, 105, true},
		"neighbours":                     {remap.Storage{ID: file}, remap.Storage{ID: file}, 100, 110, false},
		"other files":                    {remap.Storage{ID: file}, remap.Storage{ID: other}, 100, 100, false},
		"other names of the file":        {remap.Storage{ID: file, Name: "/a"}, remap.Storage{ID: file, Name: "/b"}, 100, 100, true},
		"the name only":                  {remap.Storage{Name: "/a"}, remap.Storage{ID: file, Name: "/a"}, 100, 100, true},
		"nothing known":                  {remap.Storage{}, remap.Storage{}, 100, 100, false},
		"the destination begins later":   {remap.Storage{ID: file}, remap.Storage{ID: file, Start: 50}, 100, 59, true},
		"it begins behind":               {remap.Storage{ID: file}, remap.Storage{ID: file, Start: 50}, 100, 60, false},
		"the same numbers, other places": {remap.Storage{ID: file, Start: 1 << 19}, remap.Storage{ID: file}, 100, 100, false},
		"the source begins far later":    {remap.Storage{ID: file, Start: 1 << 19}, remap.Storage{ID: file}, 0, 1<<19 + 9, true},
		"within a sector":                {remap.Storage{ID: file, Ragged: true}, remap.Storage{ID: file}, 100, 110, true},
		"before that sector":             {remap.Storage{ID: file}, remap.Storage{ID: file, Ragged: true}, 110, 100, true},
		"beyond that sector":             {remap.Storage{ID: file, Ragged: true}, remap.Storage{ID: file}, 100, 111, false},
		"within the first sector":        {remap.Storage{ID: file, Ragged: true}, remap.Storage{ID: file}, 0, 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := remap.New([]*remap.Node{loop(0, c.src), loop(1, c.dst)})
			if err != nil {
				t.Fatal(err)
			}
			if got := sharedPiece(st, remap.Dev{Major: 7}, remap.Dev{Major: 7, Minor: 1}, c.from, c.to); got != c.want {
				t.Errorf("shared: %v", got)
			}
		})
	}
}

// TestLoopsByWayOfAnother: two loop devices that only a third one knows to be on
// one file.
func TestLoopsByWayOfAnother(t *testing.T) {
	var nodes []*remap.Node
	for i, s := range []remap.Storage{{ID: "file:8:1:100"}, {Name: "/a"}, {ID: "file:8:1:100", Name: "/a"}} {
		nodes = append(nodes, &remap.Node{
			Dev: remap.Dev{Major: 7, Minor: uint32(i)}, Size: 1000, BlockSize: 512, Storage: &s, Layer: remap.OpaqueLayer{Reason: "layer:loop"},
		})
	}
	st, err := remap.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range nodes {
		for _, dst := range nodes {
			if !sharedPiece(st, src.Dev, dst.Dev, 100, 105) {
				t.Errorf("%s and %s share nothing", src.Dev, dst.Dev)
			}
		}
	}
}

// sharedPiece tells whether a copy of ten sectors is found to overlap.
func sharedPiece(st *remap.Stack, src, dst remap.Dev, from, to remap.Sector) bool {
	piece := &remap.Piece{}
	piece.Src = remap.Extent{Start: from, Len: 10, Kind: remap.Opaque, Leg: remap.Leg{Dev: src, Start: from}}
	piece.Dst = remap.Extent{Start: to, Len: 10, Kind: remap.Opaque, Leg: remap.Leg{Dev: dst, Start: to}}
	o := newOverlaps(st, NewProofs(quiet).Trust())
	o.add(piece)
	look := newExactCheck(o, 0, buckets, 2)
	look.add(piece)
	_, _, shared := look.shared()
	return shared && o.any()
}
