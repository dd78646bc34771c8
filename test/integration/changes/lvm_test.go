package changes

import (
	"sync/atomic"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/test/vm"
)

// group makes a volume group on disks that held other things before, gone with the test.
func group(t *testing.T, name string, disks ...string) {
	t.Helper()
	for _, d := range disks {
		clean(t, d)
	}
	vm.GroupOf(t, name, "1m", disks...)
}

// TestAtomicMove: while pvmove --atomic moves a volume, by devices that come and go, it is
// copied, and the machine is seen.
func TestAtomicMove(t *testing.T) {
	const size = 8 * mib
	d := newDisk(t)
	d.part("head", mib) // a volume that begins with the disk looks like two
	at := []string{d.part("pv0", 16*mib), d.part("pv1", 16*mib)}
	dst := d.part("target", size)
	group(t, "atomic", at...)
	src := vm.VolumeOf(t, "atomic", "v", "-L", "8m", at[0])
	vm.Stamp(t, src, 1, 0, size)
	var moves atomic.Int64
	stop := repeat(func() {
		if out, err := vm.TryRun("pvmove", "--atomic", "--interval", "1", "--name", "v", at[0], at[1]); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		at[0], at[1] = at[1], at[0]
		moves.Add(1)
	})
	defer stop()
	changes := int64(0)
	for copies := 0; (copies < 2 || moves.Load() < 2) && !t.Failed(); copies++ {
		vm.Stamp(t, dst, 2, 0, size)
		report, err := copyAll(t, src, dst, dispatch.Options{Window: mib})
		if err != nil {
			t.Fatalf("copy %d: %v, %+v", copies, err, report)
		}
		changes += int64(report.LayoutChanges)
		vm.CheckStamp(t, dst, 1, 0, 0, size)
		if out, err := vm.TryRun("dmcopy", "capture"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Logf("%d moves, %d changes of the layout were met", moves.Load(), changes)
}
