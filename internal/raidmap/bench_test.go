package raidmap

import (
	"testing"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

const (
	tib   = remap.Sector(1) << 31
	chunk = 128 // sectors, 64 KiB
)

// benched are arrays of about 10 TiB.
func benched(t golden.TB) []*Array {
	var arrays []*Array
	for _, line := range []string{
		"linear 0 10737418240 10737418240",
		"raid0 2 128 5368709120 5368709120 5368709120 5368709120",
		"raid0 1 128 2147483648 6442450944 6442450944 6442450944",
		"raid1 2 21474836480",
		"raid10 0x102 4 128 10737418240",
		"raid10 0x40201 4 128 10737418240",
		"raid4 0 6 128 4294967296",
		"raid5 2 6 128 4294967296",
		"raid6 2 7 128 4294967296",
	} {
		g, err := build(t, line)
		if err != nil {
			t.Fatal(err)
		}
		arrays = append(arrays, whole(t, g))
	}
	return arrays
}

// BenchmarkAt is the arithmetic alone.
func BenchmarkAt(b *testing.B) {
	for _, a := range benched(b) {
		b.Run(a.Geometry.Level(), func(b *testing.B) {
			g, s := a.Geometry, remap.Sector(0)
			b.ReportAllocs()
			for b.Loop() {
				s += g.At(s, chunk).Len
				if s >= g.Size()-chunk {
					s = 0
				}
			}
		})
	}
}

// over makes a stack of an array on disks.
func over(t golden.TB, a *Array) (*remap.Stack, remap.Dev) {
	md := remap.Dev{Major: 9}
	nodes := []*remap.Node{{Dev: md, Name: "md0", Size: a.Geometry.Size(), BlockSize: 512, Layer: a}}
	for slot := range a.Members {
		nodes = append(nodes, &remap.Node{Dev: device(slot), Name: letter(slot), Size: 16 * tib, BlockSize: 512, Leaf: &remap.Leaf{}})
	}
	st, err := remap.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return st, md
}

// TestResolvingAllocatesLittle: what is kept of extents is not allocated one by one.
func TestResolvingAllocatesLittle(t *testing.T) {
	const extents = 10_000
	for _, a := range benched(t) {
		st, md := over(t, a)
		n := testing.AllocsPerRun(3, func() {
			for _, err := range st.Resolve(remap.Read, remap.Range{Dev: md, Start: a.Geometry.Size() / 2, Len: extents * chunk}) {
				if err != nil {
					t.Fatal(err)
				}
			}
		})
		if n > extents/20 {
			t.Errorf("%s: %v allocations", a.Geometry.Level(), n)
		}
	}
}

// BenchmarkResolve reports how many extents a second are resolved through a
// stack, from the middle of the array on.
func BenchmarkResolve(b *testing.B) {
	const part = 1 << 20 * chunk
	for _, a := range benched(b) {
		b.Run(a.Geometry.Level(), func(b *testing.B) {
			st, md := over(b, a)
			extents := 0
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range st.Resolve(remap.Read, remap.Range{Dev: md, Start: a.Geometry.Size() / 2, Len: part}) {
					if err != nil {
						b.Fatal(err)
					}
					extents++
				}
			}
			b.ReportMetric(float64(extents)/b.Elapsed().Seconds(), "extents/s")
		})
	}
}
