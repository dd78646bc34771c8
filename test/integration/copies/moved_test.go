package copies

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/vm"
)

// leave gives the device the other place without what it holds, as who loads and resumes
// a table does, and lets somebody else use what was given up.
func (m *mover) leave() {
	t := m.t
	m.checkForeign()
	old := m.places[m.at]
	m.at = 1 - m.at
	vm.Run(t, "dmsetup", "load", "moving", "--table", m.table())
	vm.Run(t, "dmsetup", "resume", "moving")
	vm.Stamp(t, m.disk, foreignSeed, old*512, movedSectors*512)
	m.moves++
}

// disturbed copies src to dst, and calls each of the disturbances once so many bytes
// are done. No window is begun meanwhile: else the copy could be over sooner.
func disturbed(t *testing.T, src, dst string, opts dispatch.Options, every int64, disturbances ...func()) *account.Report {
	t.Helper()
	reached := make(chan struct{}, len(disturbances))
	var paused atomic.Bool
	opts.Rate = func() int64 {
		if paused.Load() {
			return 0
		}
		return pace.Unlimited
	}
	told := 0
	such := func(p account.Progress) bool {
		if p.Phase == account.PhaseCopying && told < len(disturbances) && p.Done >= int64(told+1)*every {
			told++
			paused.Store(true)
			reached <- struct{}{}
		}
		return told > 0
	}
	ended := backgroundUntil(src, dst, opts, such)
	for i, disturb := range disturbances {
		select {
		case <-reached:
			disturb()
			paused.Store(false)
		case r := <-ended:
			t.Fatalf("the copy ended before disturbance %d: %v (%+v)", i, r.err, r.report)
		}
	}
	r := <-ended
	if r.err != nil {
		t.Fatalf("copy: %v (%+v)", r.err, r.report)
	}
	return r.report
}

// TestDestinationLeaves loads other tables for the destination, without its data.
func TestDestinationLeaves(t *testing.T) {
	disk := vm.Device(t, small)
	src := stay(t, "src", disk)
	m := newMover(t, disk)
	for seed, opts := range []dispatch.Options{
		{}, {Offload: plan.OffloadNever}, {Verify: account.VerifyFull}, {Offload: plan.OffloadNever, Verify: account.VerifyFull},
	} {
		vm.Stamp(t, src, uint64(350+seed), 0, movedSectors*512)
		opts.Window = mib / 4
		report := disturbed(t, src, "/dev/mapper/moving", opts, 3*mib/4, m.leave, m.leave)
		vm.CheckStamp(t, "/dev/mapper/moving", uint64(350+seed), 0, 0, movedSectors*512)
		m.checkForeign()
		t.Logf("%+v", report)
		if report.Recopied == 0 || report.LayoutChanges == 0 {
			t.Errorf("what was left behind went unnoticed: %+v", report)
		}
	}
}

// TestDestinationIsAnotherVolume gives a thin destination the number of another volume of
// its pool.
func TestDestinationIsAnotherVolume(t *testing.T) {
	disk := vm.Device(t, alpha2)
	vm.Group(t, "vg", disk)
	const size = 32 * mib
	src := vm.Volume(t, "vg", "a", size)
	vm.Run(t, "lvcreate", "-y", "-L", "256m", "-T", "vg/pool")
	vm.Run(t, "lvcreate", "-y", "-V", "32m", "-T", "vg/pool", "-n", "one")
	vm.Run(t, "lvcreate", "-y", "-V", "32m", "-T", "vg/pool", "-n", "two")
	vm.Stamp(t, src, 9, 0, size)
	vm.Stamp(t, "/dev/vg/two", 8, 0, size)
	vm.Settle(t)
	vm.Run(t, "lvchange", "-an", "vg/two")
	words := strings.Fields(vm.Run(t, "dmsetup", "table", "vg-one"))
	if len(words) != 5 || words[2] != "thin" || words[4] != "1" {
		t.Fatalf("table %q", words)
	}
	words[4] = "2"
	report := disturbed(t, src, "/dev/vg/one", dispatch.Options{Window: 2 * mib}, 12*mib, func() {
		vm.Run(t, "dmsetup", "load", "vg-one", "--table", strings.Join(words, " "))
		vm.Run(t, "dmsetup", "resume", "vg-one")
	})
	vm.CheckStamp(t, "/dev/vg/one", 9, 0, 0, size)
	t.Logf("%+v", report)
	if report.Recopied == 0 {
		t.Errorf("the other volume went unnoticed: %+v", report)
	}
	words[4] = "1"
	vm.Run(t, "dmsetup", "load", "vg-one", "--table", strings.Join(words, " "))
	vm.Run(t, "dmsetup", "resume", "vg-one")
}

// TestSnapshotIsMergedBack takes a snapshot of the destination in mid-copy and merges it
// back: the destination lies where it lay, and has lost what was copied in between.
func TestSnapshotIsMergedBack(t *testing.T) {
	disk, other := vm.Device(t, small), vm.Device(t, alpha2)
	src := stay(t, "src", disk)
	lower := vm.Mapped(t, "lower", fmt.Sprintf("0 %d linear %s %d", movedSectors, disk, placeOne))
	cow := vm.Mapped(t, "cow", fmt.Sprintf("0 %d linear %s 0", 2*movedSectors, other))
	vm.Run(t, "dd", "if=/dev/zero", "of="+cow, "bs=1M", "count=1", "oflag=direct")
	linear := fmt.Sprintf("0 %d linear %s 0", movedSectors, lower)
	dst := vm.Mapped(t, "merged", linear)
	reload := func(table string) {
		vm.Run(t, "dmsetup", "suspend", "merged")
		vm.Run(t, "dmsetup", "load", "merged", "--table", table)
		vm.Run(t, "dmsetup", "resume", "merged")
	}
	data := vm.Aligned(t, movedSectors*512)
	vm.Stamp(t, src, 11, 0, movedSectors*512)
	report := disturbed(t, src, dst, dispatch.Options{Window: mib / 4}, mib/2, func() {
		vm.Run(t, "dmsetup", "suspend", "merged")
		vm.Run(t, "dmsetup", "create", "snap", "--table", fmt.Sprintf("0 %d snapshot %s %s P 8", movedSectors, lower, cow))
		vm.Run(t, "dmsetup", "load", "merged", "--table", fmt.Sprintf("0 %d snapshot-origin %s", movedSectors, lower))
		vm.Run(t, "dmsetup", "resume", "merged")
	}, func() {
		vm.Run(t, "dmsetup", "suspend", "merged")
		vm.Run(t, "dmsetup", "remove", "snap")
		vm.Run(t, "dmsetup", "load", "merged", "--table", fmt.Sprintf("0 %d snapshot-merge %s %s P 8", movedSectors, lower, cow))
		vm.Run(t, "dmsetup", "resume", "merged")
		vm.Eventually(t, "the merge", func() error {
			// Merged is all once nothing but metadata is left (drivers/md/dm-snap.c, snapshot_status).
			words := strings.Fields(vm.Run(t, "dmsetup", "status", "merged"))
			if used, _, _ := strings.Cut(words[3], "/"); len(words) != 5 || used != words[4] {
				return fmt.Errorf("status %q", words)
			}
			return nil
		})
		reload(linear)
	})
	vm.ReadDirect(t, src, data, 0)
	found := vm.Aligned(t, movedSectors*512)
	vm.ReadDirect(t, dst, found, 0)
	if !bytes.Equal(data, found) {
		t.Error("the destination does not hold what the source holds")
	}
	t.Logf("%+v", report)
	if report.Recopied == 0 {
		t.Errorf("the merge went unnoticed: %+v", report)
	}
}
