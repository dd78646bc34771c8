package mdraid

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/mdraid/mdraidtest"
	"github.com/dmcopy/dmcopy/remap"
)

// large is a raid5 of six disks with chunks of 64 KiB and 10 TiB.
func large(b *testing.B) *mdraidtest.Array {
	b.Helper()
	const member = 1 << 32
	a := mdraidtest.New("raid5", 6, member)
	a.Size = 5 * member
	a.Attrs["layout"] = "2"
	return a
}

// BenchmarkRead reads an array as before a copy, State as between two windows.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	large(b).Tree(b, dir)
	b.Run("Array", func(b *testing.B) {
		for b.Loop() {
			if _, err := Read(FS(dir), md0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("State", func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadState(FS(dir), md0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLayer(b *testing.B) {
	a := arrayOf(b, large(b))
	b.ReportAllocs()
	for b.Loop() {
		a.Layer()
	}
}

func BenchmarkPrint(b *testing.B) {
	a := arrayOf(b, large(b))
	b.ReportAllocs()
	for b.Loop() {
		a.Print()
	}
}

// BenchmarkResolve reports how many extents a second are resolved from the
// middle of the array on.
func BenchmarkResolve(b *testing.B) {
	a := arrayOf(b, large(b))
	const count, chunk = 1 << 20, 128
	nodes := []*remap.Node{{Dev: md0, Name: "md0", Size: a.Size, BlockSize: 512, Layer: a.Layer()}}
	for i := range a.Members {
		nodes = append(nodes, &remap.Node{Dev: a.Members[i].Dev, Name: fmt.Sprint("sd", i), Size: 1 << 33, BlockSize: 512, Leaf: &remap.Leaf{}})
	}
	st, err := remap.New(nodes)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		extents := 0
		for e, err := range st.Resolve(remap.Read, remap.Range{Dev: md0, Start: a.Size / 2, Len: count * chunk}) {
			if err != nil || e.Kind != remap.Data {
				b.Fatal(e.Reason, err)
			}
			extents++
		}
		if extents != count {
			b.Fatal(extents)
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "extents/s")
}
