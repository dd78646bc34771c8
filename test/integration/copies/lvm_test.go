package copies

import (
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/test/vm"
)

func TestLinearInOneNamespace(t *testing.T) {
	disk := vm.Device(t, alpha)
	vm.Group(t, "vg", disk)
	const size = 512 * mib
	a, b := vm.Volume(t, "vg", "a", size), vm.Volume(t, "vg", "b", size)
	vm.Stamp(t, a, 1, 0, size)
	vm.Settle(t)
	var report *dispatch.Report
	host := vm.Crossed(t, func() { report = mustCopy(t, a, b, dispatch.Options{Offload: dispatch.OffloadRequire}) }, disk)
	vm.CheckStamp(t, b, 1, 0, 0, size)
	if report.Offloaded != size || report.Host != 0 {
		t.Errorf("report: %+v", report)
	}
	t.Logf("%+v; %d sectors through the host", report, host)
	if host > size/512/100 {
		t.Errorf("%d sectors crossed the host for a copy of %d", host, size/512)
	}
}
