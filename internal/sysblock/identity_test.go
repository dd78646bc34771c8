package sysblock_test

import (
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// TestIdentity: of every kind of device.
func TestIdentity(t *testing.T) {
	m := sysblocktest.New(t)
	disk := m.NVMe(0, 1, "259:0", 1<<20)
	m.Part(disk, disk+"p2", "259:1", 2, 2048, 2048)
	m.Mapped("dm-0", "253:0", "vg-home", 2048, disk)
	m.Set("dm-0", "dm/uuid", "LVM-abc")
	m.Mapped("dm-1", "253:1", "plain", 2048, disk)
	m.Set("dm-1", "dm/uuid", "")
	m.Stacked("md127", "9:127", 2048, disk)
	m.Set("md127", "md/uuid", "4e1b8b4e")
	m.Stacked("md0", "9:0", 2048, disk)
	m.Set("md0", "md/level", "raid1") // a kernel that knows no uuid
	m.Disk("loop0", "7:0", 2048)
	m.Set("loop0", "loop/backing_file", "/a b.img")
	m.Set("loop0", "loop/offset", "512")
	m.Set("loop0", "loop/sizelimit", "0")
	m.Disk("loop1", "7:1", 0)
	m.Disk("zram0", "252:0", 2048)
	whole := identity(t, m, disk)
	if whole == "device:"+disk {
		t.Errorf("the disk says nothing of itself: %s", whole)
	}
	for name, want := range map[string]string{
		disk: whole, disk + "p2": whole + " partition 2 at 2048", "dm-0": "dm:LVM-abc", "dm-1": "dm:plain",
		"md127": "md:4e1b8b4e", "md0": "device:md0", "loop0": "loop:512+0:/a b.img", "loop1": "device:loop1", "zram0": "device:zram0",
	} {
		if got := identity(t, m, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := m.FS().Identity(remap.Dev{Major: 1, Minor: 1}); !errors.Is(err, sysblock.ErrGone) {
		t.Error(err)
	}
}

func identity(t *testing.T, m *sysblocktest.Machine, name string) string {
	t.Helper()
	id, err := m.FS().Identity(m.Dev(name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
