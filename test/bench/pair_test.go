// Package bench measures what grows with the size of a copy.
package bench

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/remap"
)

const (
	// chunk of the stripes in sectors, hence of the extents: 4 KiB.
	chunk = 8
	start = 2048
)

var disk = remap.Dev{Major: 259, Minor: 0}

// volume is a device-mapper device with the given table.
func volume(minor uint32, size remap.Sector, targets ...dmtable.Target) *remap.Node {
	table := dmtable.Table{Targets: targets}
	return &remap.Node{Dev: remap.Dev{Major: 253, Minor: minor}, Name: fmt.Sprintf("dm-%d", minor), Size: size, BlockSize: 512, Layer: table.Layer()}
}

// stripes is a table of two stripes far apart, so that no extent continues the
// one before.
func stripes(at, size remap.Sector) dmtable.Target {
	return dmtable.Target{Len: size, Type: "striped", Params: fmt.Sprintf("2 %d %s %d %s %d", chunk, disk, at, disk, at+size)}
}

// fragments is a table of so many linear lines in reverse order.
func fragments(at remap.Sector, count int) []dmtable.Target {
	lines := make([]dmtable.Target, count)
	for i := range lines {
		lines[i] = dmtable.Target{Start: remap.Sector(i) * chunk, Len: chunk, Type: "linear",
			Params: fmt.Sprintf("%s %d", disk, at+remap.Sector(count-1-i)*chunk)}
	}
	return lines
}

// BenchmarkPairStriped resolves and pairs two volumes of many extents whose
// tables are short: memory is that of the walk.
func BenchmarkPairStriped(b *testing.B) {
	for _, count := range []int{1 << 10, 1 << 14, 1 << 20, 1 << 24} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			size := remap.Sector(count) * chunk
			pairAll(b, count, volume(0, size, stripes(start, size)), volume(1, size, stripes(start+2*size, size)), 4*size)
		})
	}
}

// BenchmarkPairFragmented resolves and pairs two volumes with a line for each
// extent: memory is that of the tables.
func BenchmarkPairFragmented(b *testing.B) {
	for _, count := range []int{1 << 10, 1 << 14, 1 << 20} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			size := remap.Sector(count) * chunk
			pairAll(b, count, volume(0, size, fragments(start, count)...), volume(1, size, fragments(start+size, count)...), 2*size)
		})
	}
}

func pairAll(b *testing.B, count int, src, dst *remap.Node, used remap.Sector) {
	leaf := &remap.Node{Dev: disk, Name: "nvme0n1", Size: start + used, BlockSize: 512, Leaf: &remap.Leaf{}}
	st, err := remap.New([]*remap.Node{src, dst, leaf})
	if err != nil {
		b.Fatal(err)
	}
	resetPeak(b)
	for b.Loop() {
		extents := 0
		for _, err := range remap.Pair(st, remap.Range{Dev: src.Dev, Len: src.Size}, st, remap.Range{Dev: dst.Dev, Len: dst.Size}) {
			if err != nil {
				b.Fatal(err)
			}
			extents += 2
		}
		if extents < count {
			b.Fatalf("%d extents, want at least %d", extents, count)
		}
	}
	b.ReportMetric(2*float64(count)*float64(b.N)/b.Elapsed().Seconds()/1e6, "M_extents/s")
	b.ReportMetric(peak(b), "MiB_peak_RSS")
}

// resetPeak makes the kernel forget the largest resident set so far (proc(5),
// clear_refs).
func resetPeak(b *testing.B) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// peak is the largest resident set since then in MiB (proc(5), VmHWM).
func peak(b *testing.B) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib float64
		if text, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
			if _, err := fmt.Sscanf(text, "%f kB", &kib); err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}
