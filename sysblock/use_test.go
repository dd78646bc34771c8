package sysblock_test

import (
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/sysblock"
	"github.com/dmcopy/dmcopy/sysblock/sysblocktest"
)

// A disk is used through its partitions and through what is made of them.
func TestUsers(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.NVMe(1, 1, "259:10", 1<<20)
	m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 2048, 2048)
	m.Part("nvme0n1", "nvme0n1p2", "259:2", 2, 4096, 4096)
	m.Mapped("dm-0", "253:0", "vg-home", 2048, "nvme0n1p2")
	m.Mapped("dm-1", "253:1", "vg-data", 2048, "nvme0n1p2")
	m.File("proc/self/mountinfo", `28 1 259:1 / /boot rw - ext4 /dev/nvme0n1p1 ro,relatime
29 1 253:0 / /home ro - ext4 /dev/mapper/vg-home rw
30 1 0:35 / /mnt rw - btrfs /dev/somewhere rw`)
	m.Link("sys/fs/btrfs/0b3d/devices/nvme1n1", "sys/class/block/nvme1n1")
	m.File("sys/fs/btrfs/features/raid56", "0")

	boot := "nvme0n1p1 is mounted read-only: /boot (ext4)"
	home := "dm-0 is mounted read-write: /home (ext4)"
	held0, held1 := "nvme0n1p2 is held: dm-0", "nvme0n1p2 is held: dm-1"
	for name, want := range map[string][]string{
		"nvme0n1":   {boot, held0, held1, home},
		"nvme0n1p1": {boot},
		"nvme0n1p2": {held0, held1, home},
		"dm-0":      {home},
		"dm-1":      nil,
		"nvme1n1":   {"nvme1n1 is member: btrfs 0b3d"},
	} {
		uses, err := m.FS().Users(m.Dev(name))
		var got []string
		for _, use := range uses {
			got = append(got, use.String())
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v\nwant %q", name, got, err, want)
		}
	}
}

// A cycle in what sysfs says ends.
func TestUsersOfACycle(t *testing.T) {
	m := sysblocktest.New(t)
	m.Mapped("dm-0", "253:0", "a", 8)
	m.Mapped("dm-1", "253:1", "b", 8, "dm-0")
	m.Hold("dm-0", "dm-1")
	uses, err := m.FS().Users(m.Dev("dm-0"))
	if err != nil || len(uses) != 2 || uses[0].Kind != sysblock.Held {
		t.Errorf("%v, %v", uses, err)
	}
}
