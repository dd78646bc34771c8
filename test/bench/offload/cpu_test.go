package offload

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// BenchmarkCPU measures the processor time that each GiB takes which the disk
// copies by itself, and which dd copies past the page cache. The time that does
// not grow with the copy, such as that of starting a program, is left out: it is
// told apart by copies of two lengths.
func BenchmarkCPU(b *testing.B) {
	const short, long = copySize / 4, copySize
	src, dst := linear(b, "src", copySize/512, srcStart), linear(b, "dst", copySize/512, dstStart)
	ways := []func(bytes int64) *exec.Cmd{
		func(bytes int64) *exec.Cmd {
			return exec.Command("dmcopy", "copy", "--offload=require", fmt.Sprintf("--length=%d", bytes), src, dst)
		},
		func(bytes int64) *exec.Cmd {
			return exec.Command("dd", "if="+src, "of="+dst, "bs=16M", "iflag=direct", "oflag=direct", "conv=fsync", fmt.Sprintf("count=%d", bytes>>24))
		},
	}
	vm.Stamp(b, src, 1, 0, copySize)
	perGiB, constant := make([][]float64, len(ways)), make([][]float64, len(ways))
	for round := 0; b.Loop(); round++ {
		run := func(cmd *exec.Cmd) float64 {
			vm.Stamp(b, dst, uint64(100+round), 0, freshen) // or a proof proves nothing, and all is read back
			return cpuOf(b, cmd)
		}
		for i, way := range ways {
			little, much := run(way(short)), run(way(long))
			each := (much - little) / (long - short) * gib
			perGiB[i] = append(perGiB[i], each)
			constant[i] = append(constant[i], little-each*short/gib)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(perGiB[0])*1000, "ms/GiB_dmcopy")
	b.ReportMetric(median(perGiB[1])*1000, "ms/GiB_dd")
	b.ReportMetric(median(perGiB[0])/median(perGiB[1]), "dmcopy/dd")
	b.ReportMetric(median(constant[0])*1000, "ms_besides_dmcopy")
	b.ReportMetric(median(constant[1])*1000, "ms_besides_dd")
}

// cpuOf runs a program and returns the seconds of processor time that it and its
// children have used.
func cpuOf(b *testing.B, cmd *exec.Cmd) float64 {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}
