package copies

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const faultSectors = 32 * mib / 512

// pair makes a source and a destination side by side on a disk.
func pairOn(t *testing.T, disk string) (src, dst string) {
	t.Helper()
	src = vm.Mapped(t, "src", fmt.Sprintf("0 %d linear %s 2048", faultSectors, disk))
	return src, vm.Mapped(t, "dst", fmt.Sprintf("0 %d linear %s %d", faultSectors, disk, 2048+faultSectors))
}

// TestWithoutCopy: a device that cannot copy goes through the host, or is
// refused before anything is written if offload is required.
func TestWithoutCopy(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, plain))
	vm.Stamp(t, src, 1, 0, faultSectors*512)
	vm.Stamp(t, dst, 2, 0, faultSectors*512)
	_, err := copying.Copy(src, dst, dispatch.Options{Offload: plan.OffloadRequire})
	if !errors.Is(err, failure.ErrPolicy) {
		t.Errorf("require: %v, want ErrPolicy", err)
	}
	vm.CheckStamp(t, dst, 2, 0, 0, faultSectors*512)
	report := mustCopy(t, src, dst, dispatch.Options{})
	vm.CheckStamp(t, dst, 1, 0, 0, faultSectors*512)
	if report.Host != faultSectors*512 || report.Commands != 0 {
		t.Errorf("%+v", report)
	}
}

// TestLimitsOfOneBlock: one command per block.
func TestLimitsOfOneBlock(t *testing.T) {
	disk := vm.Device(t, single)
	const n = 4096
	src := vm.Mapped(t, "src", fmt.Sprintf("0 %d linear %s 2048", n, disk))
	dst := vm.Mapped(t, "dst", fmt.Sprintf("0 %d linear %s %d", n, disk, 2048+n))
	vm.Stamp(t, src, 1, 0, n*512)
	report := mustCopy(t, src, dst, dispatch.Options{Offload: plan.OffloadRequire})
	vm.CheckStamp(t, dst, 1, 0, 0, n*512)
	if report.Commands != n {
		t.Errorf("%d commands for %d blocks", report.Commands, n)
	}
}

func breakDisk(t *testing.T, disk vm.Disk, faults ...vm.Fault) {
	t.Helper()
	if err := vm.SetFaults(disk, faults...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.SetFaults(disk); err != nil {
			t.Error(err)
		}
	})
}

// TestCommandFails: a command fails once in the middle of its list. The host
// does again what the device has not done.
func TestCommandFails(t *testing.T) {
	for _, op := range []string{"read", "write"} {
		t.Run(op, func(t *testing.T) {
			src, dst := pairOn(t, vm.Device(t, alpha))
			vm.Stamp(t, src, 1, 0, faultSectors*512)
			vm.Stamp(t, dst, 2, 0, faultSectors*512) // so that the proof needs one look only
			sector := int64(2048 + faultSectors/2 + 100)
			if op == "write" {
				sector += faultSectors
			}
			breakDisk(t, alpha, vm.Fault{IOType: op, Sector: sector, Once: true})
			report := mustCopy(t, src, dst, dispatch.Options{})
			vm.CheckStamp(t, dst, 1, 0, 0, faultSectors*512)
			t.Logf("%+v", report)
			if report.Fallbacks == 0 || report.Host == 0 || report.Host > 16*mib || report.Redone != report.Host {
				t.Errorf("%+v", report)
			}
		})
	}
}

// TestCommandFailsUnderRequire: the same with a policy that forbids the host.
func TestCommandFailsUnderRequire(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, alpha))
	vm.Stamp(t, src, 1, 0, faultSectors*512)
	vm.Stamp(t, dst, 2, 0, faultSectors*512)
	breakDisk(t, alpha, vm.Fault{IOType: "read", Sector: 2048 + faultSectors/2, Once: true})
	report, err := copying.Copy(src, dst, dispatch.Options{Offload: plan.OffloadRequire})
	if !errors.Is(err, failure.ErrPolicy) || report.Result != account.OutcomeFailed {
		t.Errorf("%v, %+v", err, report)
	}
}

// TestBadSector: a sector that cannot be read is named, by its place on the
// source.
func TestBadSector(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, alpha))
	vm.Stamp(t, src, 1, 0, faultSectors*512)
	vm.Stamp(t, dst, 2, 0, faultSectors*512)
	const bad = faultSectors/2 + 8
	breakDisk(t, alpha, vm.Fault{IOType: "read", Sector: 2048 + bad})
	_, err := copying.Copy(src, dst, dispatch.Options{})
	// The kernel's word for a medium error (block/blk-core.c, blk_errors).
	if !errors.Is(err, unix.ENODATA) || !strings.Contains(err.Error(), fmt.Sprintf("(sector %d)", bad)) {
		t.Fatalf("%v, want ENODATA at sector %d", err, bad)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, bad*512)
	vm.CheckStamp(t, dst, 1, (bad+1)*512, (bad+1)*512, (faultSectors/2-9)*512)
}

// TestDeviceDisappears unplugs the source in the middle of a copy.
func TestDeviceDisappears(t *testing.T) {
	source := vm.Device(t, doomed)
	vm.Group(t, "vg", vm.Device(t, alpha))
	dst := vm.Volume(t, "vg", "b", doomed.Size)
	ended := background(source, dst, dispatch.Options{})
	if err := vm.Unplug(doomed.Name() + "-dev"); err != nil {
		t.Fatal(err)
	}
	r := <-ended
	t.Log(r.err)
	if r.err == nil || !strings.Contains(r.err.Error(), source) || !strings.Contains(r.err.Error(), "gone") || r.report.Result != account.OutcomeFailed {
		t.Errorf("%v, %+v", r.err, r.report)
	}
}
