// Package zoned proves copies on NVMe namespaces that are written in zones.
package zoned

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib  = 1 << 20
	zone = 4 * mib
	// gapped is how much of a zone can be used on the disk whose zones have gaps.
	gapped = 3 * mib
)

// Two namespaces with zones: with zones that can be used as a whole and a limit of how
// many may be begun at a time, and with zones that have a gap up to the next one.
var (
	whole = vm.Disk{Serial: "whole", NSID: 1, Size: 32 * zone, Copy: vm.CopyLimits{MSSRL: 256, MCL: 1024, MSRC: 15},
		Properties: "zoned=on,zoned.zone_size=4M,zoned.max_active=6,zoned.max_open=6"}
	gaps = vm.Disk{Serial: "gaps", NSID: 1, Size: 16 * zone, BlockSize: 4096, Copy: vm.CopyLimits{MSSRL: 64, MCL: 512, MSRC: 127},
		Properties: "zoned=on,zoned.zone_size=4M,zoned.zone_capacity=3M"}
	plain = vm.Disk{Serial: "plain", NSID: 1, Size: 16 * zone}
)

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{whole, gaps, plain},
	})
}

// blank resets all zones of a disk.
func blank(t *testing.T, d vm.Disk) string {
	t.Helper()
	device := vm.Device(t, d)
	vm.Run(t, "blkzone", "reset", device)
	return device
}

// pointer tells how far the zone at an offset is written, in bytes from its start.
func pointer(t *testing.T, device string, off int64) int64 {
	t.Helper()
	f, err := blockio.Open(device, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zones, err := f.Zones(off, 1)
	if err != nil {
		t.Fatal(err)
	}
	return zones[0].Pointer - zones[0].Start
}

// copyTo runs dmcopy copy.
func copyTo(t *testing.T, args ...string) (report *account.Report, stderr string, code int) {
	t.Helper()
	report, stderr, code = copying.Program(t, args...)
	t.Logf("%q: exit code %d, %d offloaded in %d commands, %d through the host %v %s",
		args, code, report.Offloaded, report.Commands, report.Host, report.Reasons, stderr)
	return report, stderr, code
}

// mustCopy is copyTo for copies that succeed, with what they offload and why not more.
func mustCopy(t *testing.T, offloaded, host int64, reasons []remap.Reason, args ...string) {
	t.Helper()
	r, _, code := copyTo(t, args...)
	if code != 0 || r.Offloaded != offloaded || r.Host != host || len(r.Reasons) != len(reasons) {
		t.Fatalf("%+v; want %d offloaded, %d not: %q", r, offloaded, host, reasons)
	}
	for i, why := range reasons {
		if r.Reasons[i].Reason != why {
			t.Errorf("reason %s, want %s", r.Reasons[i].Reason, why)
		}
	}
}

// run is the range of a copy for the command line.
func run(src, dst, n int64) string { return fmt.Sprintf("%d:%d:%d", src, dst, n) }
