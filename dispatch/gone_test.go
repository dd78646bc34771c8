package dispatch_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// A disk that is unplugged in the middle of a copy is said to be gone, and what was
// copied before is counted.
func TestDiskGone(t *testing.T) {
	for what, size := range map[string]int64{"in the first window": 0, "in a later window": window} {
		v := newVolumes(t)
		copies := 0
		v.Hooks.Command = func(_ int, c *nvme.Command) {
			if c.Opcode == nvme.OpCopy {
				if copies++; copies == 6 {
					v.Unplug(v.ns)
				}
			}
		}
		v.SetLimits(v.ns, nvme.Limits{RangeBlocks: 64, CommandBlocks: 64, Ranges: 1}, nvme.Limits{RangeBlocks: 64, CommandBlocks: 64, Ranges: 1})
		rep, err := copyOf(t, v.Machine, v.src, v.dst, dispatch.Options{Window: size, InFlight: 1})
		if !errors.Is(err, dispatch.ErrGone) || !strings.Contains(err.Error(), "nvme0n1") || strings.Contains(err.Error(), "what else lives") {
			t.Errorf("%s: %v", what, err)
		}
		if rep == nil || rep.Result != dispatch.OutcomeFailed || rep.Offloaded == 0 || rep.Offloaded > 6*64*sector {
			t.Errorf("%s: %+v", what, rep)
		}
	}
}

// The same of a copy through the host, from a disk and from a volume on it.
func TestSourceGone(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		v := newVolumes(t)
		disk := v.AddDisk(volume, 512)
		src := disk
		if mapped {
			src = v.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: disk}})
		}
		reads := 0
		v.Hooks.IO = func(op string, dev remap.Dev, off, n int64) {
			if op == "read" && dev == src {
				if reads++; reads == 3 {
					v.Unplug(disk)
				}
			}
		}
		rep, err := copyOf(t, v.Machine, src, v.dst, dispatch.Options{InFlight: 1, Window: window})
		if !errors.Is(err, dispatch.ErrGone) || !errors.Is(err, unix.EIO) || rep == nil || rep.Result != dispatch.OutcomeFailed || rep.Host == 0 {
			t.Errorf("mapped %v: %v, %+v", mapped, err, rep)
		}
	}
}

// Another disk that is gone is not what a copy fails for.
func TestMirrorGoesOn(t *testing.T) {
	v := newVolumes(t)
	one, two := v.AddDisk(volume, 512), v.AddDisk(volume, 512)
	src := v.AddMirror(volume, fakestack.Mirror{Legs: []fakestack.Place{{Dev: one}, {Dev: two}}})
	gone := false
	v.Hooks.IO = func(op string, dev remap.Dev, off, n int64) {
		if op == "read" && dev == src && !gone {
			gone = true
			v.Unplug(two)
		}
	}
	if rep := mustCopy(t, v.Machine, src, v.dst, dispatch.Options{InFlight: 1, Window: window}); rep.Host != rep.Total {
		t.Errorf("%+v", rep)
	}
}
