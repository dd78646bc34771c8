package inuse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/test/vm"
)

// use is a way in which a device or a file may be in use.
type use struct {
	name string
	// of uses something, for as long as the test, and returns what is named to dmcopy.
	of func(*testing.T) string
	// dst and src are what dmcopy says when it refuses it as destination and as source; ""
	// if it is copied from.
	dst, src string
}

// uses is the list: one line a case.
var uses = []use{
	// mounted
	{"mounted", mounted, "it is mounted read-write on /", "it is mounted read-write on /"},
	{"mounted read-only", mountedRO, "it is mounted read-only on /", ""},
	{"mounted in another namespace", mountedElsewhere, "in the mount namespace of process", "it is mounted read-write on /"},
	{"mounted read-only in another namespace", mountedElsewhereRO, "in the mount namespace of process", ""},
	{"mounted in a chroot in another namespace", mountedInChroot, "it is mounted read-write on /", "in the mount namespace of process"},
	{"mounted in a namespace without processes", mountedNowhere, "it is opened exclusively by somebody else", "it is opened exclusively by somebody else"},
	{"a partition is mounted", partMounted, "p1 is mounted read-write on", "p1 is mounted read-write on"},
	{"a partition is mounted read-only", partMountedRO, "p1 is mounted read-only on", ""},
	{"a partition is mounted read-only, another one somewhere", partMountedTwice, "p1 is mounted read-only on", "p2 is opened exclusively by somebody else"},
	// stacked
	{"swap", swap, "it is swap space: run swapoff first", "it is swap space: run swapoff first"},
	{"a physical volume", physicalVolume, "is made of it: deactivate", "(inuse-lv) is made of it: deactivate"},
	{"a member of an array", member, "md77 is made of it", "md77 is made of it"},
	{"a LUKS container", container, "(inuse) is made of it", "(inuse) is made of it"},
	{"below a read-only device", belowRO, "(inuse) is made of it", ""},
	// loop devices
	{"a loop device on it", looped, "it is the storage of loop", "it is the storage of loop"},
	{"a mounted loop device on it", loopMounted, "it is the storage of loop", "is mounted read-write on"},
	{"a read-only loop device on it", loopedRO, "it is the storage of loop", ""},
	{"a loop device on the disk of the partition", diskLooped, "n1 is the storage of loop", "n1 is the storage of loop"},
	// other paths
	{"mounted by another path", pathMounted, ", another path to it, is mounted read-write on", ", another path to it, is mounted read-write on"},
	{"mounted read-only by another path", pathMountedRO, ", another path to it, is mounted read-only on", ""},
	{"the same partition is mounted by another path", pathPartMounted, "another path to it) is mounted read-write on", "another path to it) is mounted read-write on"},
	{"claimed by another path", pathClaimed, ", another path to it, is opened exclusively", ", another path to it, is opened exclusively"},
	// exported
	{"exported by the NVMe target", nvmet, "it is exported by the NVMe target (inuse): take it out", "it is exported by the NVMe target (inuse)"},
	{"the disk of the partition is exported", nvmetDisk, "n1 is exported by the NVMe target (inuse)", "n1 is exported by the NVMe target (inuse)"},
	{"exported by the SCSI target", iblock, "it is exported by the SCSI target", "it is exported by the SCSI target"},
	{"exported by the SCSI target as a file", fileio, "it is exported by the SCSI target", "it is exported by the SCSI target"},
	{"served by a program", served, "(cat) has it open for writing: end that process first", "(cat) has it open for writing: end that process first"},
	{"read by a program", readBy, "", ""},
	{"claimed by a program", claimed, "it is opened exclusively by somebody else", "it is opened exclusively by somebody else"},
	// files
	{"a file with a loop device", fileLooped, "it is the storage of loop", "it is the storage of loop"},
	{"a file with a read-only loop device", fileLoopedRO, "it is the storage of loop", ""},
	{"a file below a mounted loop device", fileMounted, "it is the storage of loop", "is mounted read-write on"},
	{"a file that has another name by now", fileRenamed, "it is the storage of loop", "it is the storage of loop"},
	{"a file attached in another namespace", fileElsewhere, "it is the storage of loop", "it is the storage of loop"},
	{"a file exported by the NVMe target", fileNvmet, "it is exported by the NVMe target", "it is exported by the NVMe target"},
	{"a file exported by the SCSI target", fileFileio, "it is exported by the SCSI target", "it is exported by the SCSI target"},
	{"a file served by a program", fileServed, "(cat) has it open for writing", "(cat) has it open for writing"},
	{"a swap file", swapFile, "it is swap space: run swapoff first", "it is swap space: run swapoff first"},
	{"a swap file in another namespace", swapFileElsewhere, "it is swap space", "it is swap space"},
	// by other devices that share storage with it
	{"another loop device on its file is mounted", otherLoopMounted, ", which shares sectors of /dev/shm/", " with it, is mounted read-write on"},
	{"another loop device on its file is mounted read-only", otherLoopMountedRO, " with it, is mounted read-only on", ""},
	{"a loop device elsewhere on its file is mounted", neighbourMounted, "", ""},
	{"a mapped device on the disk of the loop device is mounted", mappedBelowLoop, "(inuse), which shares sectors of", "(inuse), which shares sectors of"},
	{"a mapped device that overlaps is mounted", overlapMounted, "(inuse), which shares sectors of", "(inuse), which shares sectors of"},
	{"a mapped device beside is mounted", besideMounted, "", ""},
	{"another volume of the group is mounted", volumeMounted, "", ""},
	{"the origin of the snapshot is mounted", originMounted, "", ""},
	{"another thin volume of the pool is mounted", thinMounted, "", ""},
	{"the file of the loop device is served by a program", loopServed, "(cat) has the file that it is stored in open for writing", "(cat) has the file that it is stored in open for writing"},
	{"the loop device below it is mounted", loopBelowMounted, ", on which it rests, is mounted read-write", ", on which it rests, is mounted read-write"},
	{"the file of the loop device is swap space", loopOnSwap, "the file that it is stored in is swap space", "the file that it is stored in is swap space"},
}

// TestUses: whatever is in use is refused, as destination, and as source if its user may
// write; and it is a source with --live-source.
func TestUses(t *testing.T) {
	const here = sysblock.FS("")
	for _, u := range uses {
		t.Run(u.name, func(t *testing.T) {
			thing := u.of(t)
			vm.Settle(t)
			dst, err := ends.OpenDestination(t.Context(), here, thing, ends.OpenOptions{})
			refused(t, "as destination", u.dst, dst, err)
			src, err := ends.OpenSource(t.Context(), here, thing, ends.OpenOptions{})
			refused(t, "as source", u.src, src, err)
			src, err = ends.OpenSource(t.Context(), here, thing, ends.OpenOptions{LiveSource: true})
			refused(t, "as live source", "", src, err)
		})
	}
}

func refused(t *testing.T, as, want string, end ends.Endpoint, err error) {
	t.Helper()
	switch {
	case err == nil:
		if want != "" {
			t.Errorf("%s: not refused", as)
		}
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	case want == "" || !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), want):
		t.Errorf("%s: %q does not say %q", as, err, want)
	default:
		t.Logf("%s: %v", as, err)
	}
}

// fresh is a disk with nothing on it.
func fresh(t *testing.T) string { return wipe(t, vm.Device(t, disk)) }

// formatted is one with a file system.
func formatted(t *testing.T) string {
	d := fresh(t)
	format(t, d)
	return d
}

func mounted(t *testing.T) string   { d := formatted(t); mount(t, d); return d }
func mountedRO(t *testing.T) string { d := formatted(t); mount(t, d, "-o", "ro"); return d }

func mountedElsewhere(t *testing.T) string {
	d := formatted(t)
	elsewhere(t, "mount "+d+" "+t.TempDir())
	return d
}

func mountedElsewhereRO(t *testing.T) string {
	d := formatted(t)
	elsewhere(t, "mount -o ro "+d+" "+t.TempDir())
	return d
}

// The first process of the namespace has another root, and sees nothing of it: it must
// not stand for the other one.
func mountedInChroot(t *testing.T) string {
	d := formatted(t)
	point, root := t.TempDir(), t.TempDir()
	shell(t, "unshare", "--mount", "sh", "-ec", fmt.Sprintf(`mount --bind / %[3]s; mount %[1]s %[2]s
		exec 5<&0; cat <&5 >/dev/null & exec 5<&-; exec chroot %[3]s sh -c "echo ready; exec cat >/dev/null"`, d, point, root))
	return d
}

func mountedNowhere(t *testing.T) string {
	d := formatted(t)
	dir, point := t.TempDir(), t.TempDir()
	vm.Run(t, "mount", "-t", "tmpfs", "namespaces", dir)
	vm.Run(t, "mount", "--make-private", dir)
	namespace := filepath.Join(dir, "namespace")
	if err := os.WriteFile(namespace, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	vm.Run(t, "unshare", "--mount="+namespace, "mount", d, point)
	t.Cleanup(func() { vm.Run(t, "umount", namespace); vm.Run(t, "umount", dir) })
	return d
}

// halves makes two partitions.
func halves(t *testing.T) (d, one, two string) {
	d = fresh(t)
	return d, vm.Partition(t, d, 1, mib, size/2-mib), vm.Partition(t, d, 2, size/2, size/2-mib)
}

func partMounted(t *testing.T) string {
	d, one, _ := halves(t)
	format(t, one)
	mount(t, one)
	return d
}

func partMountedRO(t *testing.T) string {
	d, one, _ := halves(t)
	format(t, one)
	mount(t, one, "-o", "ro")
	return d
}

func partMountedTwice(t *testing.T) string {
	d, one, two := halves(t)
	format(t, one)
	mount(t, one, "-o", "ro")
	claim(t, two)
	return d
}

func swap(t *testing.T) string {
	d := fresh(t)
	vm.Run(t, "mkswap", "-q", d)
	vm.Run(t, "swapon", d)
	t.Cleanup(func() { vm.Run(t, "swapoff", d) })
	return d
}

func physicalVolume(t *testing.T) string {
	d := fresh(t)
	vm.Group(t, "inuse", d)
	vm.Volume(t, "inuse", "lv", 4*mib)
	return d
}

func member(t *testing.T) string {
	d := fresh(t)
	vm.Run(t, "mdadm", "--create", "/dev/md77", "--run", "--quiet", "--homehost=any", "--metadata=1.2", "--level=raid1", "--raid-devices=2", d, "missing")
	t.Cleanup(func() {
		vm.Eventually(t, "stop", func() error { _, err := vm.TryRun("mdadm", "--stop", "/dev/md77"); return err })
		wipe(t, d)
	})
	return d
}

func container(t *testing.T) string {
	d := fresh(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("not a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	vm.Run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", d, key)
	vm.Run(t, "cryptsetup", "open", "--key-file", key, d, "inuse")
	t.Cleanup(func() { vm.Run(t, "cryptsetup", "close", "inuse") })
	return d
}

func belowRO(t *testing.T) string {
	d := formatted(t)
	vm.Run(t, "dmsetup", "create", "--readonly", "inuse", "--table", fmt.Sprintf("0 %d linear %s 0", size/512, d))
	t.Cleanup(func() { vm.Unmap(t, "inuse") })
	mount(t, "/dev/mapper/inuse", "-o", "ro")
	return d
}

func looped(t *testing.T) string      { d := fresh(t); attach(t, d); return d }
func loopedRO(t *testing.T) string    { d := fresh(t); attach(t, d, "--read-only"); return d }
func loopMounted(t *testing.T) string { d := formatted(t); mount(t, attach(t, d)); return d }

// The partitions go first: udev has those of a disk read again that was written to.
func diskLooped(t *testing.T) string {
	d := fresh(t)
	attach(t, d)
	return vm.Partition(t, d, 1, mib, size/2-mib)
}

// twoPaths are the devices of one disk.
func twoPaths(t *testing.T) (one, two string) {
	found, err := filepath.Glob("/sys/class/nvme/*/serial")
	if err != nil {
		t.Fatal(err)
	}
	var devices []string
	for _, f := range found {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(text)) == paths.Serial {
			devices = append(devices, "/dev/"+filepath.Base(filepath.Dir(f))+"n1")
		}
	}
	if len(devices) != 2 {
		t.Fatalf("devices of one disk: %v", devices)
	}
	wipe(t, devices[0])
	return devices[0], devices[1]
}

func pathMounted(t *testing.T) string {
	one, two := twoPaths(t)
	format(t, one)
	mount(t, one)
	return two
}

func pathMountedRO(t *testing.T) string {
	one, two := twoPaths(t)
	format(t, one)
	mount(t, one, "-o", "ro")
	return two
}

func pathPartMounted(t *testing.T) string {
	one, two := twoPaths(t)
	mine := vm.Partition(t, one, 1, mib, size/2)
	theirs := vm.Partition(t, two, 1, mib, size/2)
	format(t, mine)
	mount(t, mine)
	return theirs
}

func pathClaimed(t *testing.T) string {
	one, two := twoPaths(t)
	claim(t, one)
	return two
}

func export(t *testing.T, path string) {
	t.Helper()
	vm.Run(t, "modprobe", "nvmet")
	configure(t, "/sys/kernel/config/nvmet/subsystems/inuse/namespaces/1", "device_path", path, "enable", "1")
}

func nvmet(t *testing.T) string     { d := fresh(t); export(t, d); return d }
func nvmetDisk(t *testing.T) string { d, one, _ := halves(t); export(t, d); return one }
func fileNvmet(t *testing.T) string { f := file(t); export(t, f); return f }

func unit(t *testing.T, kind, control string) {
	t.Helper()
	vm.Run(t, "modprobe", "-a", "target_core_mod", "target_core_iblock", "target_core_file")
	configure(t, "/sys/kernel/config/target/core/"+kind+"_7/inuse", "control", control, "enable", "1")
}

func iblock(t *testing.T) string { d := fresh(t); unit(t, "iblock", "udev_path="+d); return d }

func fileio(t *testing.T) string {
	d := fresh(t)
	unit(t, "fileio", fmt.Sprintf("fd_dev_name=%s,fd_dev_size=%d", d, size))
	return d
}

func fileFileio(t *testing.T) string {
	f := file(t)
	unit(t, "fileio", fmt.Sprintf("fd_dev_name=%s,fd_dev_size=%d", f, size))
	return f
}

// What serves a disk over a network from a process (nbd-server, tgtd, istgt) and what
// gives it to a virtual machine has it open like that.
func serve(t *testing.T, path string) {
	t.Helper()
	shell(t, "sh", "-ec", "exec 5<>"+path+holding)
}

func served(t *testing.T) string     { d := fresh(t); serve(t, d); return d }
func fileServed(t *testing.T) string { f := file(t); serve(t, f); return f }

func readBy(t *testing.T) string {
	d := fresh(t)
	shell(t, "sh", "-ec", "exec 5<"+d+holding)
	return d
}

func claim(t *testing.T, device string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
}

func claimed(t *testing.T) string { d := fresh(t); claim(t, d); return d }

func fileLooped(t *testing.T) string   { f := file(t); attach(t, f); return f }
func fileLoopedRO(t *testing.T) string { f := file(t); attach(t, f, "--read-only"); return f }

func fileMounted(t *testing.T) string {
	f := file(t)
	format(t, f)
	mount(t, attach(t, f))
	return f
}

// The loop device's own file has no name any more; it can still be named as what a
// process has open, and here by a link.
func fileRenamed(t *testing.T) string {
	f := file(t)
	attach(t, f)
	again := f + ".again"
	if err := os.Link(f, again); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(f); err != nil {
		t.Fatal(err)
	}
	return again
}

func fileElsewhere(t *testing.T) string {
	f := file(t)
	point := t.TempDir()
	// Its path leads nowhere here.
	elsewhere(t, fmt.Sprintf("mount -t tmpfs none %[1]s; mkdir %[1]s/x; mount --bind %[2]s %[1]s/x; losetup --find %[1]s/x/disk.img", point, filepath.Dir(f)))
	loop := strings.TrimSpace(vm.Run(t, "sh", "-c", "grep -l x/disk.img /sys/block/loop*/loop/backing_file"))
	t.Cleanup(func() { detach(t, "/dev/"+strings.Split(loop, "/")[3]) })
	return f
}

// fileOnDisk is one that can be swap space.
func fileOnDisk(t *testing.T) string {
	d := wipe(t, vm.Device(t, other))
	format(t, d)
	f := filepath.Join(mount(t, d), "swap")
	vm.Run(t, "dd", "if=/dev/zero", "of="+f, "bs=1M", "count=4", "status=none")
	vm.Run(t, "chmod", "600", f)
	vm.Run(t, "mkswap", "-q", f)
	return f
}

func swapFile(t *testing.T) string {
	f := fileOnDisk(t)
	vm.Run(t, "swapon", f)
	t.Cleanup(func() { vm.Run(t, "swapoff", f) })
	return f
}

func swapFileElsewhere(t *testing.T) string {
	f := fileOnDisk(t)
	point := t.TempDir()
	elsewhere(t, fmt.Sprintf("mount -t tmpfs none %[1]s; mkdir %[1]s/x; mount --bind %[2]s %[1]s/x; swapon %[1]s/x/swap", point, filepath.Dir(f)))
	t.Cleanup(func() { vm.Run(t, "swapoff", f) })
	return f
}

func otherLoopMounted(t *testing.T) string {
	f := file(t)
	format(t, f)
	mount(t, attach(t, f))
	return attach(t, f)
}

func otherLoopMountedRO(t *testing.T) string {
	f := file(t)
	format(t, f)
	mount(t, attach(t, f, "--read-only"))
	return attach(t, f)
}

func neighbourMounted(t *testing.T) string {
	f := file(t)
	one := attach(t, f, "--sizelimit", fmt.Sprint(size/2))
	format(t, one)
	mount(t, one)
	return attach(t, f, "--offset", fmt.Sprint(size/2))
}

// mappedOn maps sectors of a device, and has a file system on that mounted.
func mappedOn(t *testing.T, device string, start, sectors int) {
	t.Helper()
	vm.Map(t, "inuse", fmt.Sprintf("0 %d linear %s %d", sectors, device, start))
	vm.Unmap(t, "inuse")
	format(t, "/dev/mapper/inuse")
	mount(t, "/dev/mapper/inuse")
}

func mappedBelowLoop(t *testing.T) string {
	_, one, _ := halves(t)
	mappedOn(t, one, 0, 8192)
	return attach(t, one)
}

func overlapMounted(t *testing.T) string {
	d := fresh(t)
	mappedOn(t, d, 0, 8192)
	vm.Map(t, "other", fmt.Sprintf("0 1024 linear %s 8191", d))
	vm.Unmap(t, "other")
	return "/dev/mapper/other"
}

func besideMounted(t *testing.T) string {
	d := fresh(t)
	mappedOn(t, d, 0, 8192)
	vm.Map(t, "other", fmt.Sprintf("0 1024 linear %s 8192", d))
	vm.Unmap(t, "other")
	return "/dev/mapper/other"
}

func volumeMounted(t *testing.T) string {
	vm.GroupOf(t, "inuse", "1m", fresh(t))
	one := vm.Volume(t, "inuse", "one", 4*mib)
	format(t, one)
	mount(t, one)
	return vm.Volume(t, "inuse", "two", 4*mib)
}

func originMounted(t *testing.T) string {
	vm.GroupOf(t, "inuse", "1m", fresh(t))
	one := vm.Volume(t, "inuse", "one", 4*mib)
	format(t, one)
	mount(t, one)
	vm.Run(t, "lvcreate", "-y", "-s", "-L", "4m", "-n", "snap", "inuse/one")
	return "/dev/inuse/snap"
}

func thinMounted(t *testing.T) string {
	vm.GroupOf(t, "inuse", "1m", fresh(t))
	vm.Run(t, "lvcreate", "-y", "--type", "thin-pool", "-L", "4m", "--poolmetadatasize", "2m", "--poolmetadataspare", "n", "-n", "pool", "inuse")
	for _, name := range []string{"one", "two"} {
		vm.Run(t, "lvcreate", "-y", "-V", "4m", "--thinpool", "pool", "-n", name, "inuse")
	}
	format(t, "/dev/inuse/one")
	mount(t, "/dev/inuse/one")
	return "/dev/inuse/two"
}

func loopServed(t *testing.T) string { f := file(t); loop := attach(t, f); serve(t, f); return loop }

func loopBelowMounted(t *testing.T) string {
	f := file(t)
	format(t, f)
	lower := attach(t, f)
	upper := attach(t, lower)
	mount(t, lower)
	return upper
}

func loopOnSwap(t *testing.T) string { return attach(t, swapFile(t)) }

// TestClaimed: what is being copied cannot be mounted, by whatever path; and can be
// copied by somebody else at the same time, unless it is written to.
func TestClaimed(t *testing.T) {
	one, two := twoPaths(t)
	format(t, one)
	vm.Settle(t)
	end := copying(t, one, file(t))
	point := t.TempDir()
	for _, device := range []string{one, two} {
		if out, err := vm.TryRun("mount", "-t", "ext4", device, point); err == nil {
			t.Errorf("%s is copied, and mounted: %s", device, out)
		}
	}
	for _, device := range []string{one, two} {
		if f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0); !errors.Is(err, unix.EBUSY) {
			t.Errorf("%s is copied, and can be claimed: %v, %v", device, f, err)
		}
	}
	if says, code := dmcopy(t, "copy", one, file(t)); code != 0 {
		t.Errorf("a second copy: exit code %d: %s", code, says)
	}
	says, code := dmcopy(t, "copy", file(t), two)
	wants(t, "another path as destination", "opened exclusively by somebody else", says, code)
	end()
	vm.Run(t, "mount", one, point)
	vm.Run(t, "umount", point)

	end = copying(t, file(t), one)
	says, code = dmcopy(t, "copy", two, file(t))
	wants(t, "as source of another copy", "(dmcopy) has "+filepath.Base(one)+", another path to it, open for writing", says, code)
	end()
}

func wants(t *testing.T, as, want, says string, code int) {
	t.Helper()
	if code != 6 || !strings.Contains(says, want) {
		t.Errorf("%s: exit code %d: %q does not say %q", as, code, says, want)
	}
}
