package dispatch_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/track"
	"github.com/dmcopy/dmcopy/internal/journal"
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
		if !errors.Is(err, track.ErrDiskGone) || !strings.Contains(err.Error(), "nvme0n1") || strings.Contains(err.Error(), "what else lives") {
			t.Errorf("%s: %v", what, err)
		}
		if rep == nil || rep.Result != account.OutcomeFailed || rep.Offloaded == 0 || rep.Offloaded > 6*64*sector {
			t.Errorf("%s: %+v", what, rep)
		}
	}
}

// The same between two windows: what is done is on the disk that is gone, and is neither
// looked for elsewhere nor copied again.
func TestDiskGoneInBetween(t *testing.T) {
	const array = "an array, through the host" // of which it is not known where it keeps what
	for what, make := range map[string]func(*volumes) (disk, dst remap.Dev){
		"a volume, by the disk": func(v *volumes) (remap.Dev, remap.Dev) { return v.ns, v.dst },
		"a volume, through the host": func(v *volumes) (remap.Dev, remap.Dev) {
			disk := v.AddDisk(volume, 512)
			return disk, v.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: disk}})
		},
		array: func(v *volumes) (remap.Dev, remap.Dev) {
			disk := v.AddDisk(volume, 512)
			return disk, v.AddMirror(volume, fakestack.Mirror{Legs: []fakestack.Place{{Dev: disk}}})
		},
	} {
		for _, flushing := range []bool{false, true} {
			v := newVolumes(t)
			disk, dst := make(v)
			var state kept
			opts := dispatch.Options{Window: window, InFlight: 1, Journaling: dispatch.Journaling{Journal: &state, JournalEvery: 1}}
			if flushing {
				opts.Progress = func(p account.Progress) {
					if p.Done >= 4*window {
						v.Unplug(disk)
					}
				}
			} else {
				state.recorded = func() {
					if state.Bytes(journal.Done) >= 2*window {
						v.Unplug(disk)
					}
				}
			}
			rep, err := copyOf(t, v.Machine, v.src, dst, opts)
			if !errors.Is(err, track.ErrDiskGone) || strings.Contains(err.Error(), "what else lives") {
				t.Errorf("%s, %v: %v", what, flushing, err)
			}
			if rep == nil || rep.Result != account.OutcomeFailed || rep.Offloaded+rep.Host < 2*window || rep.Recopied != 0 {
				t.Errorf("%s, %v: %+v", what, flushing, rep)
			}
			if what != array && state.Bytes(journal.Done) < 2*window {
				t.Errorf("%s, %v: what was recorded is taken back", what, flushing)
			}
		}
	}
}

// kept is a state in memory.
type kept struct {
	unwritten
	journal.Map
	recorded func()
}

func (k *kept) Extents() []journal.Extent { return k.Map.Extents() }

func (k *kept) Record(list []journal.Extent) error {
	for _, e := range list {
		k.Put(e)
	}
	if k.recorded != nil {
		k.recorded()
	}
	return nil
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
		if !errors.Is(err, track.ErrDiskGone) || !errors.Is(err, unix.EIO) || rep == nil || rep.Result != account.OutcomeFailed || rep.Host == 0 {
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
