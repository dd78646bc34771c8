package remap_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// fragmented is a Layer of count runs of a fixed length that swap places with
// their neighbours, so that none can be joined with the next.
type fragmented struct {
	dev   remap.Dev
	run   remap.Sector
	base  remap.Sector
	count remap.Sector
}

func (f *fragmented) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	number, inside := s/f.run, s%f.run
	return remap.Place{Len: min(n, f.run-inside), Kind: remap.Data, Layer: "dm:linear",
		Leg: remap.Leg{Dev: f.dev, Start: f.base + (number^1)*f.run + inside, Readable: true}}
}

func (f *fragmented) Below() []remap.Dev { return []remap.Dev{f.dev} }

const fragment = 128

// fragments is two volumes of so many extents, each through two layers.
func fragments(t testing.TB, count int) (st *remap.Stack, src, dst remap.Range) {
	size := remap.Sector(count) * fragment
	volume := func(i int, base remap.Sector) []*remap.Node {
		frag := &fragmented{dev: leafDev(0), run: fragment, base: base, count: remap.Sector(count)}
		return []*remap.Node{
			{Dev: dm(i), BlockSize: 512, Size: size, Layer: frag},
			node(i+1, linear(data(size, dm(i), 0))),
		}
	}
	// The destination is cut elsewhere than the source: every other piece.
	nodes := append(volume(0, 0), volume(2, size)...)
	st = stack(t, append(nodes, leaf(0, 2*size))...)
	return st, remap.Range{Dev: dm(1), Len: size}, remap.Range{Dev: dm(3), Len: size}
}

// BenchmarkResolveAndPair reports how many extents are resolved a second, on
// both sides together, and how many pieces are made of them.
func BenchmarkResolveAndPair(b *testing.B) {
	for _, count := range []int{1 << 10, 1 << 14, 1 << 20, 1 << 24} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			st, from, to := fragments(b, count)
			b.ReportAllocs()
			pieces := 0
			for b.Loop() {
				pieces = 0
				for _, err := range remap.Pair(st, from, st, to) {
					if err != nil {
						b.Fatal(err)
					}
					pieces++
				}
			}
			if pieces != count {
				b.Fatalf("%d pieces of %d extents", pieces, count)
			}
			b.ReportMetric(float64(2*count)*float64(b.N)/b.Elapsed().Seconds(), "extents/s")
			b.ReportMetric(float64(pieces)*float64(b.N)/b.Elapsed().Seconds(), "pieces/s")
		})
	}
}

// BenchmarkResolve is one side, by the iterator.
func BenchmarkResolve(b *testing.B) {
	const count = 1 << 16
	st, from, _ := fragments(b, count)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range st.Resolve(remap.Read, from) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "extents/s")
}

// BenchmarkManyLowers is a device on a thousand others.
func BenchmarkManyLowers(b *testing.B) {
	const lowers = 1000
	nodes := []*remap.Node{leaf(0, 8*lowers)}
	var legs []remap.Leg
	for i := range lowers {
		nodes = append(nodes, node(i, linear(data(8, leafDev(0), remap.Sector(8*i)))))
		legs = append(legs, leg(dm(i), 0))
	}
	nodes = append(nodes, node(lowers, striped(8*lowers, 8, legs...)))
	st := stack(b, nodes...)
	for b.Loop() {
		for _, err := range st.Resolve(remap.Read, remap.Range{Dev: dm(lowers), Len: 8 * lowers}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(lowers*float64(b.N)/b.Elapsed().Seconds(), "extents/s")
}

// TestMemory: resolving a million extents allocates no more than a thousand.
func TestMemory(t *testing.T) {
	allocated := func(count int) uint64 {
		st, from, to := fragments(t, count)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		pieces := 0
		for range remap.Pair(st, from, st, to) {
			pieces++
		}
		runtime.ReadMemStats(&after)
		if pieces != count {
			t.Fatalf("%d pieces", pieces)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	few, many := allocated(1<<10), allocated(1<<20)
	t.Logf("%d bytes for 2^10 pieces, %d bytes for 2^20", few, many)
	if many > few+64<<10 {
		t.Errorf("2^10 pieces allocate %d bytes, 2^20 pieces %d", few, many)
	}
}
