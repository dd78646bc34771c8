// Package copies proves copies on a real kernel, on stacks that real tools have
// built, against what the kernel itself reads back afterwards.
package copies

import (
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// The disks. Two subsystems, because Copy does not reach from one into another;
// limits that make several commands of a copy, and the smallest that there are.
var (
	alpha  = vm.Disk{Serial: "alpha", NSID: 1, Size: 14 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	alpha2 = vm.Disk{Serial: "alpha", NSID: 2, Size: 1 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	beta   = vm.Disk{Serial: "beta", NSID: 1, Size: 1 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	fourK  = vm.Disk{Serial: "fourk", NSID: 1, Size: 1 * gib, BlockSize: 4096, Copy: vm.CopyLimits{MSSRL: 256, MCL: 2048, MSRC: 127}}
	single = vm.Disk{Serial: "single", NSID: 1, Size: 256 * mib, Copy: vm.CopyLimits{MSSRL: 1, MCL: 1, MSRC: 0}}
	// Two namespaces of which each controller leads to both.
	pair1 = vm.Disk{Serial: "pair", NSID: 1, Size: 64 * mib, Controllers: 2, Copy: vm.CopyLimits{MSSRL: 256, MCL: 4096, MSRC: 127}}
	pair2 = vm.Disk{Serial: "pair", NSID: 2, Size: 64 * mib, Controllers: 2, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 1024, MSRC: 7}}
	plain = vm.Disk{Bus: vm.BusVirtio, Serial: "plain", Size: 1 * gib}
	// This one is unplugged by a test.
	doomed = vm.Disk{Bus: vm.BusVirtio, Serial: "doomed", Size: 64 * mib, BytesPerSec: 16 * mib}
	// The small one is compared as a whole.
	small = vm.Disk{Serial: "small", NSID: 1, Size: 12 * mib, Copy: vm.CopyLimits{MSSRL: 64, MCL: 256, MSRC: 7}}
)

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{alpha, alpha2, beta, fourK, single, pair1, pair2, plain, doomed, small},
	})
}

// mustCopy copies what can be copied.
func mustCopy(t *testing.T, src, dst string, opts dispatch.Options, ranges ...byterange.Range) *account.Report {
	t.Helper()
	report, err := copying.Copy(src, dst, opts, ranges...)
	if err != nil {
		t.Fatalf("copy %s to %s: %v (%+v)", src, dst, err, report)
	}
	if !copying.AddsUp(report) {
		t.Errorf("report does not add up: %+v", report)
	}
	return report
}
