package inflight

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
)

// asked is a device whose transfers are left to the kernel.
type asked struct {
	emulation.Device
	refuses error
}

func (a asked) Async() emulation.Start {
	return func(_ bool, _ int64, n int) (emulation.Transfer, error) {
		return emulation.Transfer{FD: 7, Len: n / 2, End: func(n int, err error) (int, error) { return n + 1, err }}, a.refuses
	}
}

// TestWatchAsync: what is left to the kernel is under way until it has answered.
func TestWatchAsync(t *testing.T) {
	calls := New()
	start := emulation.Async(calls.Watch(asked{}, "vg/home"))
	for _, c := range []struct {
		write bool
		op    string
	}{{false, "read"}, {true, "write"}} {
		transfer, err := start(c.write, 4096, 512)
		if err != nil || transfer.FD != 7 || transfer.Len != 256 {
			t.Fatalf("%+v, %v", transfer, err)
		}
		under := calls.UnderWay()
		if len(under) != 1 || under[0].Op != c.op || under[0].On != "vg/home" || under[0].Off != 4096 {
			t.Errorf("under way: %v", under)
		}
		if n, err := transfer.End(100, unix.EIO); n != 101 || !errors.Is(err, unix.EIO) {
			t.Errorf("%d, %v", n, err)
		}
		if under := calls.UnderWay(); len(under) != 0 {
			t.Errorf("still under way: %v", under)
		}
	}
	start = emulation.Async(calls.Watch(asked{refuses: unix.ENODEV}, "vg/home"))
	if _, err := start(true, 0, 512); !errors.Is(err, unix.ENODEV) {
		t.Errorf("refused: %v", err)
	}
	if under := calls.UnderWay(); len(under) != 0 {
		t.Errorf("refused, and under way: %v", under)
	}
	if emulation.Async(calls.Watch(struct{ emulation.Device }{}, "calls")) != nil {
		t.Error("calls are left to the kernel")
	}
}
