package scsi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// core is where the kernel's own target (LIO) is configured.
const core = "/sys/kernel/config/target/core"

// lun is a logical unit of the kernel's own target, made of memory.
type lun struct {
	name   string
	serial string // its first 25 hexadecimal digits become the name of the unit
	size   int64  // bytes
}

// serials whose names differ, as LIO makes them.
const (
	serialA = "aa5eed00-0000-4000-8000-000000000001"
	serialB = "bb5eed00-0000-4000-8000-000000000002"
	serialC = "cc5eed00-0000-4000-8000-000000000003"
	// Differs from A's in the last of its 32 digits only.
	serialNearA = "aa5eed00-0000-4000-8000-000000000009"
)

// storage makes the backing of a unit; the end of the test removes it.
func storage(t *testing.T, l lun) string {
	t.Helper()
	dir := filepath.Join(core, "rd_mcp_0", l.name)
	makeDir(t, dir)
	set(t, filepath.Join(dir, "control"), fmt.Sprintf("rd_pages=%d", l.size/4096))
	set(t, filepath.Join(dir, "enable"), "1")
	set(t, filepath.Join(dir, "wwn/vpd_unit_serial"), l.serial)
	return dir
}

// target exports units over the loopback fabric and returns the disks that appear,
// in the order of the units.
func target(t *testing.T, wwn string, luns ...lun) (disks []string) {
	t.Helper()
	return attach(t, wwn, 1, stored(t, luns...))[0]
}

const fabric = "/sys/kernel/config/target/loopback"

// stored makes the backings of units.
func stored(t *testing.T, luns ...lun) (backing []string) {
	t.Helper()
	vm.Run(t, "modprobe", "-a", "target_core_mod", "tcm_loop")
	if _, err := os.Stat(filepath.Join(core, "rd_mcp_0")); err != nil {
		makeDir(t, filepath.Join(core, "rd_mcp_0"))
	}
	for _, l := range luns {
		backing = append(backing, storage(t, l))
	}
	return backing
}

// attach exports units over several ports of a target and returns the disks that
// appear, by port.
func attach(t *testing.T, wwn string, ports int, backing []string) (disks [][]string) {
	t.Helper()
	if _, err := os.Stat(fabric); err != nil {
		if err := os.Mkdir(fabric, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	makeDir(t, filepath.Join(fabric, wwn))
	for i := range ports {
		dir := port(wwn, i)
		makeDir(t, dir)
		set(t, filepath.Join(dir, "nexus"), strings.TrimSuffix(wwn, "1")+"2")
		disks = append(disks, export(t, dir, backing))
	}
	vm.Settle(t)
	return disks
}

// port is where a port of the target is configured.
func port(wwn string, i int) string { return filepath.Join(fabric, wwn, fmt.Sprintf("tpgt_%d", i+1)) }

// export makes disks of units behind a port.
func export(t *testing.T, port string, backing []string) (disks []string) {
	t.Helper()
	for i, unit := range backing {
		dir := filepath.Join(port, "lun", fmt.Sprintf("lun_%d", i))
		makeDir(t, dir)
		link := filepath.Join(dir, filepath.Base(unit))
		before := scsiDisks(t)
		if err := os.Symlink(unit, link); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, link) })
		var disk string
		vm.Eventually(t, "disk of "+unit, func() error {
			for d := range scsiDisks(t) {
				if !before[d] {
					disk = d
					return nil
				}
			}
			return fmt.Errorf("not there yet")
		})
		disks = append(disks, "/dev/"+disk)
	}
	return disks
}

// scsiDisks are the kernel names of all SCSI disks.
func scsiDisks(t *testing.T) map[string]bool {
	t.Helper()
	dirs, err := filepath.Glob("/sys/block/sd*")
	if err != nil {
		t.Fatal(err)
	}
	disks := make(map[string]bool)
	for _, d := range dirs {
		disks[filepath.Base(d)] = true
	}
	return disks
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, dir) })
}

func remove(t *testing.T, path string) {
	if err := os.Remove(path); err != nil {
		t.Error(err)
	}
}

func set(t *testing.T, file, value string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}
