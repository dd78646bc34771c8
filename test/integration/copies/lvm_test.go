package copies

import (
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/vm"
)

func TestLinearInOneNamespace(t *testing.T) {
	disk := vm.Device(t, alpha)
	vm.Group(t, "vg", disk)
	const size = 512 * mib
	a, b := vm.Volume(t, "vg", "a", size), vm.Volume(t, "vg", "b", size)
	vm.Stamp(t, a, 1, 0, size)
	vm.Settle(t)
	var report *account.Report
	host := vm.Crossed(t, func() { report = mustCopy(t, a, b, dispatch.Options{Offload: plan.OffloadRequire}) }, disk)
	vm.CheckStamp(t, b, 1, 0, 0, size)
	if report.Offloaded != size || report.Host != 0 {
		t.Errorf("report: %+v", report)
	}
	t.Logf("%+v; %d sectors through the host", report, host)
	if host > size/512/100 {
		t.Errorf("%d sectors crossed the host for a copy of %d", host, size/512)
	}
}

// TestLinearInOneNamespaceShared: where lvmlockd is running, which a file pretends here,
// disks write below logical volumes on the word of the operator only, and read from them
// as ever.
func TestLinearInOneNamespaceShared(t *testing.T) {
	disk := vm.Device(t, alpha)
	vm.Group(t, "vg", disk)
	const size = 32 * mib
	a, b := vm.Volume(t, "vg", "a", size), vm.Volume(t, "vg", "b", size)
	vm.Stamp(t, a, 1, 0, size)
	vm.Settle(t)
	const pid = "/run/lvmlockd.pid"
	if err := os.WriteFile(pid, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(pid)
	report := mustCopy(t, a, b, dispatch.Options{})
	if report.Offloaded != 0 || len(report.Reasons) != 1 || report.Reasons[0].Reason != plan.ReasonHoldShared {
		t.Errorf("report: %+v", report)
	}
	vm.CheckStamp(t, b, 1, 0, 0, size)
	vm.Stamp(t, a, 2, 0, size)
	vm.Settle(t)
	if report = mustCopy(t, a, b, dispatch.Options{Hold: hold.Trust}); report.Offloaded != size {
		t.Errorf("trusted: %+v", report)
	}
	vm.CheckStamp(t, b, 2, 0, 0, size)
}
