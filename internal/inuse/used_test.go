package inuse_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

// TestUsed: everything that is used is listed, with what it is called; what is only made of
// others is not.
func TestUsed(t *testing.T) {
	m := sysblocktest.New(t)
	for i, name := range []string{"sda", "sdb", "sdc", "sdd", "sde"} {
		m.Disk(name, "8:"+string(rune('0'+i)), 4096)
	}
	m.NVMe(0, 1, "259:0", 1<<20)
	m.Mapped("dm-0", "253:0", "vg-lv", 4096, "sde")
	m.File("proc/self/mountinfo", `30 1 8:0 / /mnt rw - ext4 /dev/sda rw
31 1 8:0 /part /bind rw - ext4 /dev/sda rw
32 1 0:44 / /run rw - tmpfs tmpfs rw`)
	m.Link("sys/fs/btrfs/0b3d/devices/sdb", "sys/class/block/sdb")
	m.File("image", "")
	m.File("swap", "")
	m.File("proc/swaps", "Filename Type Size Used Priority\n/swap file 1 0 -2")
	m.File("sys/kernel/config/target/core/iblock_0/x/enable", "1")
	m.File("sys/kernel/config/target/core/iblock_0/x/info", "Major: 8 Minor: 2  CLAIMED: IBLOCK")
	m.File("sys/kernel/config/nvmet/subsystems/all/passthru/enable", "1")
	m.File("sys/kernel/config/nvmet/subsystems/all/passthru/device_path", "/dev/nvme0")
	m.Process(7, "mnt:[1]", "/", "")
	m.Opens(7, 3, "image", 30)
	m.Link("proc/self/exe", "bin/dmcopy")
	m.File("bin/dmcopy", "")
	uses, err := inuse.Used(m.FS())
	if err != nil {
		t.Fatal(err)
	}
	wantUses(t, texts(uses), "sda is mounted read-write: /mnt (ext4)", "sdb is member: btrfs 0b3d", " is swap: /swap", "nvme0n1 is exported: the NVMe target (all)", "sdc is exported: the SCSI target",
		" is open for writing: process 7 (test)")
	for _, u := range uses {
		if u.ID == "" || u.Own || (u.PID == 7) != (u.Name == "" && u.Detail != "/swap") {
			t.Errorf("%+v", u)
		}
	}
}

// TestUnseen: whose files cannot be looked at is counted, but for what has none; and it
// is known whether all show.
func TestUnseen(t *testing.T) {
	m := sysblocktest.New(t)
	seen := func(want int, wantAll bool) {
		t.Helper()
		n, all, err := inuse.HiddenProcesses(m.FS())
		if err != nil || n != want || all != wantAll {
			t.Errorf("%d, %v, %v, want %d, %v", n, all, err, want, wantAll)
		}
	}
	seen(0, false)
	m.Process(1, "mnt:[1]", "/", "")
	m.File("proc/1/stat", "1 (a) b) S 0 0 0 0 -1 4194560 1")
	m.Process(2, "mnt:[1]", "/", "")
	m.File("proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0")
	m.Process(3, "mnt:[1]", "/", "")
	m.File("proc/3/stat", "3 (a) b) S 0 0 0 0 -1 4194560 1")
	seen(0, true)
	for _, pid := range []string{"1", "2", "3"} { // but the first is nobody's business
		if err := os.Chmod(filepath.Join(string(m.FS()), "proc", pid, "fd"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	seen(0, true)
	root := string(m.FS())
	if err := errors.Join(os.Chmod(root, 0o755), os.Chmod(filepath.Dir(root), 0o755)); err != nil {
		t.Fatal(err)
	}
	// A thread of another user sees less.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := unix.SetfsuidRetUid(65534)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.SetfsuidRetUid(was)
	seen(1, true)
}
