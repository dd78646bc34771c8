package dispatch_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// paper is a machine that exists as a snapshot only, so that it can be large.
type paper struct {
	*fakestack.Machine
	st *remap.Stack
}

func (p *paper) Stack(context.Context, ...remap.Dev) (*remap.Stack, error) { return p.st, nil }
func (p *paper) Pair(_ context.Context, src, dst *remap.Node) copydomain.Pair {
	return copydomain.Pair{Src: src, Dst: dst, Method: copydomain.NVMeCopy, Domain: "paper", Block: 512}
}

// sheet is a device of paper: it has a size.
type sheet struct {
	emulation.Device
	node *remap.Node
}

func (s sheet) Size() int64    { return s.node.Size.Bytes() }
func (s sheet) BlockSize() int { return s.node.BlockSize }
func (s sheet) WriteUnit() int { return s.node.BlockSize }
func (s sheet) ID() string     { return s.node.Dev.String() }

// shuffled maps runs of a device in another order: neighbours change places.
type shuffled struct {
	dev   remap.Dev
	run   remap.Sector
	start remap.Sector
}

func (l shuffled) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	number, inside := s/l.run, s%l.run
	return remap.Place{Len: min(n, l.run-inside), Kind: remap.Data, Layer: "dm:linear",
		Leg: remap.Leg{Dev: l.dev, Start: l.start + (number^1)*l.run + inside, Readable: true}}
}
func (l shuffled) Below() []remap.Dev { return []remap.Dev{l.dev} }

// TestCheckMemory: looking over the plan of a million fragments takes no memory
// for each.
func TestCheckMemory(t *testing.T) {
	const run = 2048
	size := remap.Sector(run * fragments)
	leaf := remap.Dev{Major: 259}
	volume := func(minor uint32, layer remap.Layer) *remap.Node {
		return &remap.Node{Dev: remap.Dev{Major: 254, Minor: minor}, Size: size, BlockSize: 512, Layer: layer, Condition: remap.Condition{Mutable: true}}
	}
	src, dst := volume(0, shuffled{leaf, run, 0}), volume(1, shuffled{leaf, run, size})
	st, err := remap.New([]*remap.Node{src, dst, {Dev: leaf, Size: 2 * size, BlockSize: 512, Leaf: &remap.Leaf{Driver: "nvme"}}})
	if err != nil {
		t.Fatal(err)
	}
	m := &paper{fakestack.New(0), st}
	job := dispatch.Job{Src: ends.Endpoint{Name: "a", Dev: src.Dev, Device: sheet{node: src}}, Dst: ends.Endpoint{Name: "b", Dev: dst.Dev, Device: sheet{node: dst}}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := dispatch.New(m).Check(t.Context(), job, dispatch.Options{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > fragmentBytes {
		t.Errorf("%d MiB for %d fragments", grown>>20, fragments)
	}
}
