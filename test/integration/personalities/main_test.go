// Package personalities copies with the program itself through every kind of
// layer, as a source and as a destination, and has the kind itself judge the
// result: an array checks its parity, a cipher is opened again, a pool is asked
// who holds its metadata.
package personalities

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// limits make several commands of a copy.
var limits = vm.CopyLimits{MSSRL: 2048, MCL: 8192, MSRC: 127}

// The disks. Everything that takes part in a copy lies on one namespace, so that
// nothing but layers can stand in the way of a copy by the disk itself.
var (
	leaf = vm.Disk{Serial: "leaf", Size: 1024 * mib, Copy: limits}
	// One namespace that shows as two disks: nobody makes a head of them.
	paths = vm.Disk{Serial: "paths", Size: 128 * mib, Copy: limits, Controllers: 2}
)

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		// The kernel warns about much of what is made here.
		Cmdline:  "loglevel=3 nvme_core.multipath=N",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{leaf, paths},
	})
}

// noUdev ends udevd, whose rules look at everything that is built here, and
// assemble what they find. The tools create device nodes themselves then.
func noUdev(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{"DM_DISABLE_UDEV": "1", "MDADM_NO_UDEV": "1"} {
		if err := os.Setenv(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := vm.TryRun("pidof", "systemd-udevd"); err != nil {
		return // an earlier test has done so
	}
	vm.Settle(t)
	vm.Run(t, "udevadm", "control", "--exit")
	vm.Eventually(t, "end of udevd", func() error {
		if running, err := vm.TryRun("pidof", "systemd-udevd", "udevd", "udevadm"); err == nil {
			return fmt.Errorf("still running: %s", running)
		}
		return nil
	})
	// It leaves its socket, by which libraries tell that it runs.
	if err := os.Remove("/run/udev/control"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
