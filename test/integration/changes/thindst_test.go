package changes

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	oldSeed = 40
	newSeed = 41
)

// TestSnapshotOfDestination takes snapshots of a thin volume while disks write
// below it. What is written afterwards must never be seen in them.
func TestSnapshotOfDestination(t *testing.T) {
	d := newDisk(t)
	thinGroup(d)
	src := vm.Volume(t, "vg", "src", copySize)
	vm.Run(t, "lvcreate", "-y", "-qq", "-Wn", "-V", fmt.Sprintf("%db", copySize), "-n", "thin", "--thinpool", "vg/pool")
	const dst = "/dev/vg/thin"
	vm.Stamp(t, src, newSeed, 0, copySize)
	vm.Stamp(t, dst, oldSeed, 0, copySize)
	fast := vm.Slowly(t, alpha, pace)

	var done atomic.Int64
	var once sync.Once
	begun := make(chan struct{})
	ended := start(t, src, dst, dispatch.Options{Window: window, Progress: func(p account.Progress) {
		done.Store(p.Done)
		if p.Offloaded > 0 {
			once.Do(func() { close(begun) })
		}
	}})
	select {
	case <-begun:
	case r := <-ended:
		t.Fatalf("nothing was offloaded: %v %+v", r.err, r.report)
	}
	vm.Run(t, "lvcreate", "-y", "-qq", "-s", "-kn", "-pr", "-n", "mid", "vg/thin")
	// The lock was free, so that no command was in flight; a window may be again.
	reached := done.Load() + window
	r := <-ended
	fast()
	report := r.must(t)
	holds(t, dst, newSeed, copySize)
	mixed(t, "/dev/vg/mid", min(reached, copySize))
	rootFree(t, "vg-pool-tpool")
	if report.LayoutChanges == 0 || because(report, "layer:thin-shared") == 0 {
		t.Errorf("the snapshot went unnoticed: %+v", report)
	}
}

// TestPrime copies to a thin volume that has no blocks yet: with them made ahead of
// time, the disk copies all of it.
func TestPrime(t *testing.T) {
	d := newDisk(t)
	thinGroup(d)
	src := vm.Volume(t, "vg", "src", copySize)
	vm.Run(t, "lvcreate", "-y", "-qq", "-Wn", "-V", fmt.Sprintf("%db", copySize), "-n", "thin", "--thinpool", "vg/pool")
	vm.Stamp(t, src, newSeed, 0, copySize)
	r := <-start(t, src, "/dev/vg/thin", dispatch.Options{Prime: true, Offload: plan.OffloadRequire})
	report := r.must(t)
	holds(t, "/dev/vg/thin", newSeed, copySize)
	rootFree(t, "vg-pool-tpool")
	if report.Offloaded != copySize || report.Primed < copySize/poolBlock*4096 {
		t.Errorf("%+v", report)
	}
}

// mixed fails the test unless a device holds old or new sectors up to some
// offset, and old ones from there on.
func mixed(t *testing.T, path string, end int64) {
	t.Helper()
	want := [2][]byte{make([]byte, remap.SectorSize), make([]byte, remap.SectorSize)}
	var found [2]int
	for at := int64(0); at < copySize; at += mib {
		got, err := readAt(path, at, mib)
		if err != nil {
			t.Fatal(err)
		}
		for i := int64(0); i < mib; i += remap.SectorSize {
			vm.FillStamp(want[0], oldSeed, at+i)
			vm.FillStamp(want[1], newSeed, at+i)
			sector := got[i : i+remap.SectorSize]
			switch {
			case bytes.Equal(sector, want[0]):
				found[0]++
			case bytes.Equal(sector, want[1]) && at+i < end:
				found[1]++
			default:
				t.Errorf("%s: byte %d (of %d that may be new) holds %s", path, at+i, end, vm.DescribeSector(sector))
				return
			}
		}
	}
	t.Logf("%s: %d old and %d new sectors", path, found[0], found[1])
}
