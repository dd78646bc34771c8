package hold

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

func dev(minor uint32) remap.Dev { return remap.Dev{Major: 254, Minor: minor} }

func TestCover(t *testing.T) {
	a, b, c := dev(0), dev(1), dev(2)
	chain := func(n remap.Sector, nodes ...remap.Dev) Chain { return Chain{Len: n, Nodes: nodes} }
	tests := []struct {
		name string
		all  []Chain
		want []int // indices of all
	}{
		{"nothing", nil, nil},
		{"a partition", []Chain{chain(8)}, nil},
		{"one", []Chain{chain(8, a)}, []int{0}},
		{"the same way twice", []Chain{chain(7, a), chain(8, a)}, []int{1}},
		{"longer than a read", []Chain{chain(maxRead, a), chain(maxRead+1, a)}, []int{0}},
		{"the deep one holds the shallow one", []Chain{chain(800, a), chain(8, a, b)}, []int{1}},
		{"two lowers", []Chain{chain(8, a, b), chain(8, a, c)}, []int{0, 1}},
		{"nothing new", []Chain{chain(8, a, b), chain(8, a, c), chain(8, b, c), chain(8)}, []int{0, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want []Chain
			for _, i := range tt.want {
				want = append(want, tt.all[i])
			}
			same := func(x, y Chain) bool { return x.Len == y.Len && slices.Equal(x.Nodes, y.Nodes) }
			if got := cover(tt.all); !slices.EqualFunc(got, want, same) {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestCoverAll: every node of every chain is on a chosen chain, and no chosen
// chain is there for nothing when it is chosen.
func TestCoverAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []Chain
		for range rapid.IntRange(0, 12).Draw(t, "chains") {
			c := Chain{Len: remap.Sector(rapid.IntRange(1, 300).Draw(t, "length"))}
			for _, minor := range rapid.SliceOfNDistinct(rapid.Uint32Range(0, 9), 0, 4, rapid.ID).Draw(t, "nodes") {
				c.Nodes = append(c.Nodes, dev(minor))
			}
			all = append(all, c)
		}
		held := make(map[remap.Dev]bool)
		for _, c := range cover(all) {
			gain := false
			for _, d := range c.Nodes {
				gain = gain || !held[d]
				held[d] = true
			}
			if !gain {
				t.Fatalf("%v is of no use", c)
			}
		}
		for _, c := range all {
			for _, d := range c.Nodes {
				if !held[d] {
					t.Fatalf("%s is not held", d)
				}
			}
		}
	})
}

func TestSpans(t *testing.T) {
	spans := spansOf([]Chain{{Start: 8, Len: 3}, {Start: 1 << 33, Len: 1000}, {Start: 0, Len: 8}})
	if want := []span{{4096, 1536}, {1 << 42, maxRead * 512}, {0, 4096}}; !slices.Equal(spans, want) {
		t.Errorf("%v", spans)
	}
}
