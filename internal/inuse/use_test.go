package inuse_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
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
		uses, err := inuse.Users(m.FS(), m.Dev(name))
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
	uses, err := inuse.Users(m.FS(), m.Dev("dm-0"))
	if err != nil || len(uses) != 2 || uses[0].Kind != inuse.Held {
		t.Errorf("%v, %v", uses, err)
	}
}

// usesOf are the uses of a device of the machine.
func usesOf(t *testing.T, m *sysblocktest.Machine, name string) []string {
	t.Helper()
	uses, err := inuse.Users(m.FS(), m.Dev(name))
	if err != nil {
		t.Fatal(err)
	}
	return texts(uses)
}

func texts(uses []inuse.Use) (all []string) {
	for _, use := range uses {
		all = append(all, use.String())
	}
	return all
}

func wantUses(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// TestNamespaces: what is mounted in any mount namespace is seen, once if this one
// sees it; and no process stands for another one that has another root.
func TestNamespaces(t *testing.T) {
	m := sysblocktest.New(t)
	for i, name := range []string{"sda", "sdb", "sdc", "sdd", "sde"} {
		m.Disk(name, fmt.Sprintf("8:%d", 16*i), 4096)
	}
	own := "30 1 8:0 / /data rw - ext4 /dev/sda rw"
	m.File("proc/self/mountinfo", own)
	m.Self("mnt:[1]", "/")
	m.Process(1, "mnt:[1]", "/", own+"\n31 1 8:64 / /never rw - ext4 /dev/sde rw") // the same view as this one, not read again
	m.Process(20, "mnt:[2]", "/jail", "")
	m.Process(21, "mnt:[2]", "/", "40 1 8:0 / /mnt/data rw - ext4 /dev/sda rw\n41 1 8:16 / /mnt/b ro - xfs /dev/sdb ro")
	m.Process(22, "mnt:[2]", "/", "42 1 8:32 / /mnt/c rw - ext4 /dev/sdc rw") // its namespace was read
	m.Process(30, "mnt:[3]", "/", "")
	if err := os.Remove(filepath.Join(string(m.FS()), "proc/30/task/30/mountinfo")); err != nil { // it has just ended
		t.Fatal(err)
	}
	m.Process(31, "mnt:[3]", "/", "50 1 8:48 / /mnt/d rw - ext4 /dev/sdd rw")
	wantUses(t, usesOf(t, m, "sda"), "sda is mounted read-write: /data (ext4)")
	wantUses(t, usesOf(t, m, "sdb"), "sdb is mounted read-only: /mnt/b (xfs) in the mount namespace of process 21 (test)")
	wantUses(t, usesOf(t, m, "sdc"))
	wantUses(t, usesOf(t, m, "sdd"), "sdd is mounted read-write: /mnt/d (ext4) in the mount namespace of process 31 (test)")
	wantUses(t, usesOf(t, m, "sde"))
	mounts, err := inuse.AllMounts(m.FS())
	if err != nil || len(mounts) != 4 || mounts[0].Path() != "/data" || mounts[1].Path() != "/proc/21/root/mnt/data" {
		t.Errorf("%+v, %v", mounts, err)
	}
	m.Process(40, "mnt:[4]", "/", "nonsense")
	if _, err := inuse.AllMounts(m.FS()); !errors.Is(err, sysfs.ErrValue) {
		t.Errorf("a list that is not understood: %v", err)
	}
}

// idAt is what a file of the machine is called by its numbers.
func idAt(t *testing.T, m *sysblocktest.Machine, path string) string {
	t.Helper()
	info, err := os.Stat(filepath.Join(string(m.FS()), path))
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("file:%d:%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
}

// TestFileUsers: files are known by their numbers, under whatever names others know
// them.
func TestFileUsers(t *testing.T) {
	m := sysblocktest.New(t)
	users := func(path string) []string {
		uses, err := inuse.FileUsers(m.FS(), filepath.Join(string(m.FS()), path), idAt(t, m, path))
		if err != nil {
			t.Fatal(err)
		}
		return texts(uses)
	}
	for _, name := range []string{"stored", "swap", "far-swap", "exported", "written", "remote", "unit", "gadget", "nothing"} {
		m.File("images/"+name, "x")
	}
	m.Process(7, "mnt:[2]", "/", "40 1 0:40 / / rw - tmpfs none rw\n41 1 0:41 / /images rw - nfs4 server:/x rw")
	m.Link("proc/7/root/swap", "images/far-swap")
	m.File("proc/swaps", "Filename Type Size Used Priority\n/images/swap file 1 0 -2\n/swap file 1 0 -3\n/images/x\\040(deleted) file 1 0 -4")
	m.Loop("loop0", "7:0", "/images/stored")
	m.Set("loop0", "ro", "1")
	m.Part("loop0", "loop0p1", "259:7", 1, 8, 8)
	m.File("proc/self/mountinfo", "30 1 259:7 / /in ro - ext4 /dev/loop0p1 ro")
	m.Opens(7, 3, "images/written", 40)
	m.Opens(7, 4, "images/remote", 41)
	m.File("sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/device_path", "/images/exported")
	m.File("sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/enable", "1")
	m.File("sys/kernel/config/target/core/fileio_0/x/enable", "1")
	m.File("sys/kernel/config/target/core/fileio_0/x/info", "Status: ACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 16384\n"+
		"        TCM FILEIO ID: 0        File: /images/unit  Size: 33554432  Mode: O_DSYNC Async: 0")
	m.File("sys/kernel/config/usb_gadget/g/functions/mass_storage.0/lun.0/file", "/images/gadget")
	wantUses(t, users("images/stored"), " is stored read-only: loop0", "loop0p1 is mounted read-only: /in (ext4)")
	wantUses(t, users("images/swap"), " is swap: /images/swap")
	wantUses(t, users("images/far-swap"), " is swap: /swap")
	wantUses(t, users("images/exported"), " is exported: the NVMe target (nqn)")
	wantUses(t, users("images/unit"), " is exported: the SCSI target")
	wantUses(t, users("images/gadget"), " is exported: a USB gadget")
	wantUses(t, users("images/written"), " is open for writing: process 7 (test)")
	wantUses(t, users("images/remote"))
	m.Link("proc/self/exe", "images/nothing")
	wantUses(t, users("images/written"), " is open for writing: process 7 (test)")
	remove := func(path string) {
		if err := os.Remove(filepath.Join(string(m.FS()), path)); err != nil {
			t.Fatal(err)
		}
	}
	remove("proc/self/exe")
	m.Link("proc/self/exe", "bin/test") // another copy, which has locked what it writes
	wantUses(t, users("images/written"))
	remove("proc/self/exe")
	remove("proc/7/exe") // it has just ended
	wantUses(t, users("images/written"))
	wantUses(t, users("images/nothing"))
	m.Set("loop0", "ro", "0")
	wantUses(t, users("images/stored"), " is stored: loop0", "loop0p1 is mounted read-only: /in (ext4)")
	for _, use := range []string{"sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/enable", "sys/kernel/config/target/core/fileio_0/x/enable"} {
		m.File(use, "0")
	}
	wantUses(t, users("images/exported"))
	wantUses(t, users("images/unit"))
}

// TestExportedDevices: devices are known by their numbers, those of SCSI units as the
// target shows them; and nobody is in the way of himself.
func TestExportedDevices(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 2048, 2048)
	m.Disk("sda", "8:0", 4096)
	const core = "sys/kernel/config/target/core/"
	m.File(core+"iblock_0/x/enable", "1")
	m.File(core+"iblock_0/x/info", "Status: ACTIVATED\n        iBlock device: sda  UDEV PATH: /dev/elsewhere  readonly: 0\n        Major: 8 Minor: 0  CLAIMED: IBLOCK")
	m.File(core+"iblock_0/hba_info", "HBA Index: 1 plugin: iblock version: v5.0") // stands beside the units
	const passthru = "sys/kernel/config/nvmet/subsystems/nqn.far/passthru/"
	m.File(passthru+"device_path", "/dev/nvme0")
	m.File(passthru+"enable", "1")
	wantUses(t, usesOf(t, m, "sda"), "sda is exported: the SCSI target")
	wantUses(t, usesOf(t, m, "nvme0n1p1"), "nvme0n1 is exported: the NVMe target (nqn.far)")
	m.NVMe(1, 1, "259:10", 1<<20)
	wantUses(t, usesOf(t, m, "nvme1n1"))
	// A path to the same disk through this very export is how it is reached.
	m.Set("nvme1n1", "wwid", "uuid.0000-nvme0n1")
	wantUses(t, usesOf(t, m, "nvme1n1"), "nvme0n1 is exported: the NVMe target (nqn.far) (by nvme0n1)")
	m.File("sys/devices/pci0/nvme/nvme1/subsysnqn", "nqn.far")
	wantUses(t, usesOf(t, m, "nvme1n1"))
	m.Part("nvme1n1", "nvme1n1p1", "259:11", 1, 2048, 2048)
	wantUses(t, usesOf(t, m, "nvme1n1p1"))
}

// TestOtherPaths: disks of one name count as one, partition by partition.
func TestOtherPaths(t *testing.T) {
	m := sysblocktest.New(t)
	for i, name := range []string{"sda", "sdb"} {
		m.OnBus(name, fmt.Sprintf("8:%d", 16*i), "scsi", 1<<20, "wwid=naa.5000")
		for part := 1; part <= 2; part++ {
			m.Part(name, fmt.Sprint(name, part), fmt.Sprintf("8:%d", 16*i+part), part, int64(part)*2048, 2048)
		}
	}
	m.OnBus("sdc", "8:32", "scsi", 1<<20, "wwid=naa.6000")
	m.OnBus("sdd", "8:48", "scsi", 1<<20, "wwid=")
	m.OnBus("sde", "8:64", "scsi", 1<<20, "wwid=")
	m.Disk("md0", "9:0", 4096)
	m.Hold("md0", "sda2")
	m.File("proc/self/mountinfo", "30 1 8:1 / /a rw - ext4 /dev/sda1 rw\n31 1 8:64 / /e rw - ext4 /dev/sde rw")
	a, md := "sda1 is mounted read-write: /a (ext4) (by sda)", "sda2 is held: md0 (by sda)"
	wantUses(t, usesOf(t, m, "sdb"), a, md)
	wantUses(t, usesOf(t, m, "sdb1"), a)
	wantUses(t, usesOf(t, m, "sdb2"), md)
	wantUses(t, usesOf(t, m, "sdc"))
	wantUses(t, usesOf(t, m, "sdd")) // what has no name is nobody's other path
	m.Loop("loop0", "7:0", "/nothing")
	m.Disk("md1", "9:1", 4096)
	m.Hold("md1", "sda")
	wantUses(t, usesOf(t, m, "sdb1"), a, "sda is held: md1 (by sda)")
	paths, err := m.FS().OtherPaths(facts(t, m, "sdb2"))
	if err != nil || len(paths) != 1 || paths[0].Name != "sda" || !slices.Equal(paths[0].Parts, []remap.Dev{m.Dev("sda2")}) {
		t.Errorf("%+v, %v", paths, err)
	}
}

// TestOddPath: a disk whose name cannot be read may be another path to a disk of its
// size, and is no concern of all others.
func TestOddPath(t *testing.T) {
	m := sysblocktest.New(t)
	m.OnBus("sda", "8:0", "scsi", 1<<20, "wwid=naa.5000")
	m.OnBus("sdb", "8:16", "scsi", 1<<21, "wwid=naa.6000")
	m.OnBus("sdc", "8:32", "scsi", 1<<20)
	m.File("sys/dev/block/8:32/device/wwid/odd", "") // a directory: it cannot be read
	wantUses(t, usesOf(t, m, "sdb"))
	if _, err := inuse.Users(m.FS(), m.Dev("sda")); !errors.Is(err, syscall.EISDIR) || !strings.Contains(err.Error(), "8:32") {
		t.Errorf("%v", err)
	}
	m.Unset("sdc", "size")
	if _, err := inuse.Users(m.FS(), m.Dev("sdb")); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("%v", err)
	}
}

// TestReadOnlyHolders: who can only read is told from who may write.
func TestReadOnlyHolders(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 4096)
	m.Mapped("dm-0", "253:0", "verified", 4096, "sda")
	m.Set("dm-0", "ro", "1")
	uses, err := inuse.Users(m.FS(), m.Dev("sda"))
	if err != nil || len(uses) != 1 || uses[0].Kind != inuse.HeldRO || uses[0].Kind.Writes() {
		t.Errorf("%v, %v", uses, err)
	}
	m.Set("dm-0", "ro", "0")
	uses, err = inuse.Users(m.FS(), m.Dev("sda"))
	if err != nil || len(uses) != 1 || uses[0].Kind != inuse.Held || !uses[0].Kind.Writes() {
		t.Errorf("%v, %v", uses, err)
	}
	m.Set("dm-0", "ro", "2")
	if _, err := inuse.Users(m.FS(), m.Dev("sda")); err == nil || !strings.Contains(err.Error(), "dm-0") {
		t.Errorf("%v", err)
	}
}

// TestDiskOfPartition: who uses a disk as a whole uses its partitions.
func TestDiskOfPartition(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 1<<20)
	m.Part("sda", "sda1", "8:1", 1, 2048, 2048)
	m.Part("sda", "sda2", "8:2", 2, 4096, 2048)
	m.File("proc/self/mountinfo", "30 1 8:2 / /b rw - ext4 /dev/sda2 rw")
	wantUses(t, usesOf(t, m, "sda1"))
	m.Disk("dm-0", "253:0", 4096)
	m.Hold("dm-0", "sda")
	wantUses(t, usesOf(t, m, "sda1"), "sda is held: dm-0")
}

// TestMountedFiles: a file can be mounted without a loop device, in any mount namespace.
func TestMountedFiles(t *testing.T) {
	m := sysblocktest.New(t)
	m.File("images/here", "x")
	m.File("images/there", "x")
	m.File("proc/self/mountinfo", "30 1 0:50 / /mnt/e ro - erofs /images/here ro")
	m.Process(7, "mnt:[2]", "/", "40 1 0:51 / /mnt/f ro - erofs /image ro")
	m.Link("proc/7/root/image", "images/there")
	for name, want := range map[string]string{
		"here": " is mounted read-only: /mnt/e (erofs)", "there": " is mounted read-only: /mnt/f (erofs) in the mount namespace of process 7 (test)",
	} {
		uses, err := inuse.FileUsers(m.FS(), filepath.Join(string(m.FS()), "images", name), idAt(t, m, "images/"+name))
		if err != nil {
			t.Fatal(err)
		}
		wantUses(t, texts(uses), want)
	}
}

func facts(t *testing.T, m *sysblocktest.Machine, name string) *sysblock.Facts {
	t.Helper()
	f, err := m.FS().Facts(m.Dev(name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestOddHolder: what cannot be read of a device above is no fault of those below, but
// who asks for users gets an error.
func TestOddHolder(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 8)
	m.Mapped("dm-0", "253:0", "x", 8, "sda")
	m.Set("dm-0", "dev", "x")
	if f := facts(t, m, "sda"); f.Unread != "" || f.Leaf() == nil {
		t.Errorf("%+v", f)
	}
	m.File("proc/self/mountinfo", "")
	if uses, err := inuse.Users(m.FS(), m.Dev("sda")); !errors.Is(err, sysblock.ErrValue) {
		t.Errorf("%v, %v", uses, err)
	}
}
