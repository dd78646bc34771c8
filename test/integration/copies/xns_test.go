package copies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

// controllersOf opens the controllers that lead to a disk, with leave to tell them
// what they may do.
func controllersOf(t *testing.T, disk string, want int) map[string]*nvme.File {
	t.Helper()
	names, err := nvme.Controllers(filepath.Base(disk))
	if err != nil || len(names) != want {
		t.Fatalf("controllers of %s: %v, %v", disk, names, err)
	}
	controllers := make(map[string]*nvme.File)
	for _, name := range names {
		c, err := nvme.OpenController(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.AllowSetBehavior()
		controllers[name] = c
	}
	return controllers
}

// tell enables or disables format 2 by hand and tells whether the kernel lets that
// pass.
func tell(t *testing.T, controllers map[string]*nvme.File, on bool) (passed bool) {
	t.Helper()
	for name, c := range controllers {
		_, err := nvme.SetCopyFormat(context.Background(), c, nvme.Format2, on)
		if errors.Is(err, unix.EACCES) {
			return false
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return true
}

// checkTold demands what the controllers have been told.
func checkTold(t *testing.T, controllers map[string]*nvme.File, want bool) {
	t.Helper()
	for name, c := range controllers {
		b, err := nvme.ReadBehavior(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		if b.CopyFormats().Has(nvme.Format2) != want {
			t.Errorf("%s takes format 2: %v", name, !want)
		}
	}
}

// across copies by the command, demands equal bytes, and that all of it went one
// way.
func across(t *testing.T, src, dst string, size int64, seed uint64, method account.Method, flags ...string) {
	t.Helper()
	vm.Stamp(t, src, seed, 0, size)
	vm.Settle(t)
	args := append([]string{"copy", "--json", "--verify", "full", src, dst}, flags...)
	stdout, stderr, code := run(t, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	var report account.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if report.ByMethod[method] != size {
		t.Errorf("%v: %s", args, stdout)
	}
	if method == account.Host && (len(report.Reasons) != 1 || report.Reasons[0].Reason != copydomain.ReasonCrossDisabled) {
		t.Errorf("%v: %s", args, stdout)
	}
	vm.CheckStamp(t, dst, seed, 0, 0, size)
}

// TestCrossNamespace copies from one namespace to another of one subsystem: where
// the kernel lets the controllers be told, the disk does it, and they are as they
// were afterwards; where it does not, the host does, and the reason says so.
func TestCrossNamespace(t *testing.T) {
	for _, c := range []struct {
		name        string
		src, dst    vm.Disk
		controllers int
	}{{"one controller", alpha, alpha2, 1}, {"two paths", pair1, pair2, 2}} {
		t.Run(c.name, func(t *testing.T) {
			one, two := vm.Device(t, c.src), vm.Device(t, c.dst)
			controllers := controllersOf(t, two, c.controllers)
			const size = 40 * mib
			vm.Group(t, "vg", one, two)
			src, dst := vm.Volume(t, "vg", "a", size, one), vm.Volume(t, "vg", "b", size, two)
			passes := tell(t, controllers, true) && tell(t, controllers, false)
			if vm.Kernel() == vm.KernelOld && !passes {
				t.Error("this kernel is known to let Set Features pass")
			}
			t.Logf("Set Features for Host Behavior Support passes: %v", passes)
			checkTold(t, controllers, false)

			across(t, src, dst, size, 1, account.Host)
			checkTold(t, controllers, false)
			stdout, stderr, code := run(t, "plan", "--enable-cross-namespace", src, dst)
			if code != 0 || !strings.Contains(stdout, "nvme-copy-xns") || strings.Count(stderr, "have to be enabled on") != c.controllers {
				t.Errorf("plan: exit code %d\n%s%s", code, stdout, stderr)
			}
			checkTold(t, controllers, false)
			if !passes {
				across(t, src, dst, size, 2, account.Host, "--enable-cross-namespace")
				checkTold(t, controllers, false)
				return
			}
			disks := []string{one, two}
			host := vm.Crossed(t, func() {
				across(t, src, dst, size, 2, account.NVMeCopyXNS, "--enable-cross-namespace", "--offload", "require")
			}, disks...)
			// Stamps are written and read, and the copy is verified: that is four times.
			if host > 4*size/512+size/512/10 {
				t.Errorf("%d sectors crossed the host", host)
			}
			checkTold(t, controllers, false)
			across(t, dst, src, size, 3, account.NVMeCopyXNS, "--enable-cross-namespace")
			checkTold(t, controllers, false)

			// A copy that is refused tells the controllers nothing for long.
			far := vm.Volume(t, "vg", "c", 8*mib, two)
			other := volumeOn(t, beta, 8*mib)
			mixed := vm.Mapped(t, "mixed", "0 16384 linear "+far+" 0", "16384 16384 linear "+other+" 0")
			if _, stderr, code := run(t, "copy", "--enable-cross-namespace", "--offload", "require", "--length", "16M", src, mixed); code != 5 {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			checkTold(t, controllers, false)

			// What others have enabled is used, and stays.
			tell(t, controllers, true)
			across(t, src, dst, size, 4, account.NVMeCopyXNS)
			checkTold(t, controllers, true)
			across(t, src, dst, size, 5, account.NVMeCopyXNS, "--enable-cross-namespace")
			checkTold(t, controllers, true)
			tell(t, controllers, false)
		})
	}
}

// volumeOn makes a mapped device at the start of a disk.
func volumeOn(t *testing.T, disk vm.Disk, size int64) string {
	t.Helper()
	return vm.Mapped(t, "other", fmt.Sprintf("0 %d linear %s 0", size/512, vm.Device(t, disk)))
}
