package offload

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// BenchmarkHold is what a window costs that does nothing: the anchor is
// submitted, proven, checked and released.
func BenchmarkHold(b *testing.B) {
	disk := vm.Device(b, fast)
	volume := linear(b, "held", 65536, srcStart)
	h := hold.NewHolder(hold.Auto, volume, number(b, volume), nil)
	request := hold.Request{
		Chains:   []hold.Chain{{Len: 4096, Nodes: []remap.Dev{number(b, volume)}, Leaf: number(b, disk)}},
		Deadline: 10 * time.Second, // bounds a wait, measures nothing
	}
	var times []float64
	for b.Loop() {
		const windows = 20
		began := time.Now()
		for range windows {
			held, err := h.Hold(context.Background(), request)
			if err != nil {
				b.Fatal(err)
			}
			if err := errors.Join(held.Check(), held.Release()); err != nil {
				b.Fatal(err)
			}
		}
		times = append(times, time.Since(began).Seconds()*1000/windows)
	}
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(times), "ms/window")
}

func number(b *testing.B, path string) remap.Dev {
	b.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		b.Fatal(err)
	}
	return remap.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
}
