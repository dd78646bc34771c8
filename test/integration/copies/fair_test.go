package copies

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

// In the volume group of this test extents have 4 MiB, and the source has the first
// 80 of its disk, the destination the next 80.
const (
	fairExtent = 4 * mib
	fairSize   = 80 * fairExtent
	fairSpeed  = 8 * mib // bytes a second of the disk; a Copy reads and writes
)

// policies are those of a group whose snapshots and pools grow by themselves.
const policies = "activation{snapshot_autoextend_threshold=50 snapshot_autoextend_percent=50 " +
	"thin_pool_autoextend_threshold=50 thin_pool_autoextend_percent=50}"

// stamped is what has to be there in the end.
type stamped struct {
	path string
	seed uint64
	size int64
}

func stamp(t *testing.T, path string, seed uint64, size int64) stamped {
	t.Helper()
	vm.Stamp(t, path, seed, 0, size)
	return stamped{path, seed, size}
}

// neighbours makes volumes of others in the group: on both disks, one that goes, a
// snapshot and a pool that are more than half full.
func neighbours(t *testing.T, one, two string) []stamped {
	t.Helper()
	vm.Volume(t, "vg", "victim", 16*mib, one)
	near, far := vm.Volume(t, "vg", "near", 128*mib, one), vm.Volume(t, "vg", "far", 256*mib, two)
	origin := vm.Volume(t, "vg", "origin", 16*mib, two)
	vm.Run(t, "lvcreate", "-y", "-qq", "-s", "-L8m", "-c4k", "-n", "snap", "vg/origin", two)
	vm.Run(t, "lvcreate", "-y", "-qq", "--type=thin-pool", "-L16m", "--poolmetadatasize=4m", "-c64k", "-n", "pool", "vg", two)
	vm.Run(t, "lvcreate", "-y", "-qq", "-Wn", "-V16m", "-n", "thin", "--thinpool", "vg/pool")
	return []stamped{stamp(t, near, 10, 128*mib), stamp(t, far, 11, 256*mib), stamp(t, origin, 12, 6*mib), stamp(t, "/dev/vg/thin", 13, 12*mib)}
}

// mebibytes is the size of a volume.
func mebibytes(t *testing.T, lv string) float64 {
	t.Helper()
	size, err := strconv.ParseFloat(strings.TrimSpace(vm.Run(t, "lvs", "--noheadings", "--units=m", "--nosuffix", "-olv_size", lv)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestFairHold: during a copy of more than a minute, by a disk that is never idle,
// every command of LVM gets its turn: it has ended before the copy has. What such
// commands give up belongs to others at once.
func TestFairHold(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	one, two := vm.Device(t, alpha2), vm.Device(t, beta)
	vm.Group(t, "vg", one, two)
	src, dst := vm.Volume(t, "vg", "a", fairSize, one), vm.Volume(t, "vg", "b", fairSize, one)
	all := append(neighbours(t, one, two), stamp(t, src, 5, fairSize), stamped{dst, 5, fairSize})
	vm.Settle(t)
	vm.Slowly(t, alpha2, fairSpeed)
	began := time.Now()
	ended := backgroundUntil(src, dst, dispatch.Options{}, func(p account.Progress) bool { return p.Offloaded > 0 })
	during := func(name string, args ...string) {
		t.Helper()
		start := time.Now()
		vm.Run(t, name, args...)
		t.Logf("%5.1f s: %.1f s for %s %s", start.Sub(began).Seconds(), time.Since(start).Seconds(), name, strings.Join(args, " "))
		select {
		case r := <-ended:
			t.Fatalf("the copy was over before the command: %+v %v", r.report, r.err)
		default:
		}
	}
	// move takes extents of a volume to the other disk, and gives their place away.
	move := func(name string, first int) {
		t.Helper()
		place := fmt.Sprintf("%s:%d-%d", one, first, first+1)
		during("pvmove", "-i1", place, two)
		during("lvcreate", "-y", "-Wn", "-Zn", "-n", name, "-l2", "vg", place)
		all = append(all, stamp(t, "/dev/vg/"+name, uint64(first), 2*fairExtent))
	}

	during("lvextend", "-y", "-L+32m", "vg/b")
	during("lvextend", "-y", "-L+32m", "vg/near")
	move("early", 81) // of the destination
	move("late", 154) // of what will be copied last
	move("read", 60)  // of the source
	during("lvcreate", "-y", "-s", "-L8m", "-n", "of-near", "vg/near", two)
	during("lvremove", "-y", "vg/of-near")
	during("lvremove", "-y", "vg/victim")
	// What dmeventd runs.
	during("lvextend", "--use-policies", "--config", policies, "vg/snap")
	during("lvextend", "--use-policies", "--config", policies, "vg/pool")
	during("dmsetup", "suspend", "vg-b")
	during("dmsetup", "resume", "vg-b")

	r := <-ended
	if r.err != nil {
		t.Fatalf("copy: %v (%+v)", r.err, r.report)
	}
	t.Logf("%.1f s: %+v", time.Since(began).Seconds(), *r.report)
	if r.report.Seconds < 60 || r.report.LayoutChanges == 0 || r.report.Offloaded < fairSize/2 || r.report.Result != account.OutcomeOK {
		t.Errorf("%+v", *r.report)
	}
	if err := vm.Throttle(alpha2, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		vm.CheckStamp(t, s.path, s.seed, 0, 0, s.size)
	}
	if snap, pool := mebibytes(t, "vg/snap"), mebibytes(t, "vg/pool"); snap <= 8 || pool <= 16 {
		t.Errorf("the snapshot has %v MiB, the pool %v MiB: they did not grow", snap, pool)
	}
}
