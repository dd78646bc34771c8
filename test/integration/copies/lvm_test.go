package copies

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/test/vm"
)

// group makes a volume group on the disks, gone with the test.
func group(t *testing.T, name string, disks ...string) {
	t.Helper()
	vm.Run(t, "vgcreate", append([]string{"-y", name}, disks...)...)
	t.Cleanup(func() {
		vm.Run(t, "vgremove", "-ff", "-y", name)
		vm.Run(t, "pvremove", append([]string{"-ff", "-y"}, disks...)...)
	})
}

// volume makes a logical volume and returns its path.
func volume(t *testing.T, group, name string, size int64, args ...string) string {
	t.Helper()
	vm.Run(t, "lvcreate", append([]string{"-y", "-Wn", "-Zn", "-n", name, "-L", fmt.Sprintf("%db", size), group}, args...)...)
	return "/dev/" + group + "/" + name
}

// crossed measures how many sectors the host reads and writes on the disks
// while f runs.
func crossed(t *testing.T, f func(), disks ...string) (sectors uint64) {
	t.Helper()
	count := func() (sum uint64) {
		for _, d := range disks {
			read, written, err := vm.Diskstats(d)
			if err != nil {
				t.Fatal(err)
			}
			sum += read + written
		}
		return sum
	}
	before := count()
	f()
	return count() - before
}

func TestLinearInOneNamespace(t *testing.T) {
	disk := vm.Device(t, alpha)
	group(t, "vg", disk)
	const size = 512 * mib
	a, b := volume(t, "vg", "a", size), volume(t, "vg", "b", size)
	vm.Stamp(t, a, 1, 0, size)
	vm.Settle(t)
	var report *dispatch.Report
	host := crossed(t, func() { report = mustCopy(t, a, b, dispatch.Options{Offload: dispatch.OffloadRequire}) }, disk)
	vm.CheckStamp(t, b, 1, 0, 0, size)
	if report.Offloaded != size || report.Host != 0 {
		t.Errorf("report: %+v", report)
	}
	t.Logf("%+v; %d sectors through the host", report, host)
	if host > size/512/100 {
		t.Errorf("%d sectors crossed the host for a copy of %d", host, size/512)
	}
}
