package dispatch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// BenchmarkPlanGather plans what a log-structured filesystem asks for when it
// collects its garbage: ranges of 4 KiB from all over one volume to one run of
// another.
func BenchmarkPlanGather(b *testing.B) {
	const n, unit = 100_000, 4 * kib
	size := remap.Sector(2 * n * unit / sector)
	leaf := remap.Dev{Major: 259}
	volume := func(minor uint32, start remap.Sector) *remap.Node {
		return &remap.Node{Dev: remap.Dev{Major: 254, Minor: minor}, Size: size, BlockSize: 512, Layer: shuffled{leaf, size, start}, Condition: remap.Condition{Mutable: true}}
	}
	src, dst := volume(0, 0), volume(1, size)
	st, err := remap.New([]*remap.Node{src, dst, {Dev: leaf, Size: 4 * size, BlockSize: 512, Leaf: &remap.Leaf{Driver: "nvme"}}})
	if err != nil {
		b.Fatal(err)
	}
	job := dispatch.Job{Src: ends.Endpoint{Name: "a", Dev: src.Dev, Device: sheet{node: src}}, Dst: ends.Endpoint{Name: "b", Dev: dst.Dev, Device: sheet{node: dst}}}
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		job.Ranges = append(job.Ranges, byterange.Range{Src: int64(2 * at * unit), Dst: int64(i * unit), Len: unit})
	}
	e := dispatch.New(&paper{fakestack.New(0), st})
	b.ReportAllocs()
	steps := 0
	for b.Loop() {
		for s, err := range e.Plan(b.Context(), job, dispatch.Options{}) {
			if err != nil || s.Method != account.NVMeCopy {
				b.Fatal(fmt.Sprintf("%+v", s), err)
			}
			steps++
		}
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "ranges/s")
}
