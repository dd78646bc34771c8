package discovery

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// LVM names, owners and mappings, with a capture that resolves the same.
func TestLVM(t *testing.T) {
	a, b := vm.Device(t, diskA), vm.Device(t, diskB)
	seeds := stamp(t, diskA, diskB)
	vm.Run(t, "vgcreate", "--yes", "my-vg", a, b)
	t.Cleanup(func() {
		vm.Run(t, "vgremove", "--force", "--yes", "my-vg")
		vm.Run(t, "pvremove", "--force", "--yes", a, b)
	})
	// Volumes are not to be wiped: they hold the stamps.
	lvcreate := func(args ...string) {
		t.Helper()
		vm.Run(t, "lvcreate", append([]string{"--yes", "-Wn", "-Zn"}, args...)...)
	}
	lvcreate("-n", "plain", "-L", "16m", "my-vg", a)
	lvcreate("-n", "other-lv", "-L", "16m", "my-vg", b)
	vm.Run(t, "lvextend", "-L", "32m", "my-vg/plain", b)
	lvcreate("-n", "striped", "-L", "16m", "-i", "2", "-I", "64k", "my-vg")
	vm.Run(t, "lvcreate", "--yes", "-L", "16m", "-T", "my-vg/pool", "-V", "16m", "-n", "thin")
	vm.Run(t, "lvcreate", "--yes", "-n", "snap", "-L", "4m", "-s", "my-vg/other-lv")
	vm.Settle(t)

	live1, st, _ := read(t)
	for name, want := range map[string]struct {
		label string
		kind  remap.Kind
	}{
		"my-vg/plain":           {"my-vg/plain", remap.Data},
		"my-vg/striped":         {"my-vg/striped", remap.Data},
		"my-vg/other-lv":        {"my-vg/other-lv", remap.Data}, // it is a snapshot-origin by now
		"my-vg/snap":            {"my-vg/snap", remap.Data},     // nothing was written since
		"my-vg/thin":            {"my-vg/thin", remap.Opaque},   // its pool is not asked here
		"my--vg-other--lv-real": {"my--vg-other--lv-real", remap.Data},
		"my--vg-pool_tdata":     {"my--vg-pool_tdata", remap.Data},
	} {
		dev := lookup(t, name)
		n := st.Node(dev)
		if n.DisplayName() != want.label || n.Owner != (remap.Owner{Manager: "lvm", Group: "my-vg"}) || !n.Mutable {
			t.Errorf("%s: %+v", name, n)
		}
		for e, err := range st.Resolve(remap.Read, remap.Range{Dev: dev, Len: n.Size}) {
			if err != nil || e.Kind != want.kind {
				t.Errorf("%s: %+v, %v", name, e, err)
			}
		}
		if from, err := live1.Lookup(name); err != nil || from != dev {
			t.Errorf("%s in the capture: %v, %v", name, from, err)
		}
	}
	for _, alias := range []string{"/dev/my-vg/plain", "/dev/mapper/my--vg-plain", "my--vg-plain", lookup(t, "my-vg/plain").String()} {
		if dev := lookup(t, alias); dev != lookup(t, "my-vg/plain") {
			t.Errorf("%s is %v", alias, dev)
		}
	}
	checkResolved(t, st, lookup(t, "my-vg/plain"), seeds)
	checkResolved(t, st, lookup(t, "my-vg/striped"), seeds)

	var stored bytes.Buffer
	if err := live1.Write(&stored); err != nil {
		t.Fatal(err)
	}
	captured, err := layout.Load(&stored)
	if err != nil {
		t.Fatal(err)
	}
	st2, err := captured.Stack()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range st.Nodes() {
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			if one, two := spell(t, st, n.Dev, op), spell(t, st2, n.Dev, op); !slices.Equal(one, two) {
				t.Errorf("%s: live %v\ncaptured %v", n.Name, one, two)
			}
		}
	}
}

func spell(t testing.TB, st *remap.Stack, dev remap.Dev, op remap.Op) []string {
	t.Helper()
	var got []string
	for e, err := range st.Resolve(op, remap.Range{Dev: dev, Len: st.Node(dev).Size}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Start, e.Len, e.Kind, e.Leg, e.Reason, e.Via.Names()))
	}
	return got
}

// Every disk of the machine is what it was made as.
func TestLeaves(t *testing.T) {
	_, st, _ := read(t)
	for _, test := range []struct {
		disk   vm.Disk
		driver string
		block  int
	}{
		{diskA, "nvme", 512}, {diskB, "nvme", 512}, {diskC, "nvme", 4096}, {diskVirt, "virtio", 512}, {diskSCSI, "scsi", 512},
	} {
		path := vm.Device(t, test.disk)
		n := st.Node(lookup(t, path))
		if n.Leaf == nil || n.Leaf.Driver != test.driver || n.BlockSize != test.block || n.Size.Bytes() != test.disk.Size || n.Path != path || n.Leaf.Zoned != "none" {
			t.Errorf("%s: %+v, %+v", test.disk.Name(), n, n.Leaf)
			continue
		}
		if (test.driver == "nvme") != (n.Leaf.NVMe != nil) {
			t.Errorf("%s: %+v", test.disk.Name(), n.Leaf)
		}
		if ns := n.Leaf.NVMe; ns != nil {
			nsid := max(1, test.disk.NSID)
			if ns.NSID != nsid || ns.Serial != test.disk.Serial || !strings.HasPrefix(ns.Subsystem, "nqn.") || n.Leaf.Identity == "" {
				t.Errorf("%s: %+v", test.disk.Name(), ns)
			}
			if info, err := os.Stat(ns.Generic); err != nil || info.Mode()&os.ModeCharDevice == 0 {
				t.Errorf("%s: generic node %q: %v", test.disk.Name(), ns.Generic, err)
			}
			if got := strings.TrimSpace(vm.Run(t, "nvme", "get-ns-id", ns.Generic)); !strings.HasSuffix(got, fmt.Sprint(nsid)) {
				t.Errorf("%s: %s says %s", test.disk.Name(), ns.Generic, got)
			}
		}
	}
	b, c := st.Node(number(t, diskB)).Leaf, st.Node(number(t, diskC)).Leaf
	if b.NVMe.Subsystem != c.NVMe.Subsystem || b.Identity == c.Identity || b.NVMe.Controller != "" {
		t.Errorf("two namespaces of one subsystem: %+v %+v", b.NVMe, c.NVMe)
	}
	facts, err := machine.Facts(number(t, diskB))
	if err != nil || !facts.Disk.NVMe.Multipath || len(facts.Disk.NVMe.Controllers) != 2 {
		t.Errorf("%+v, %v", facts, err)
	}
}

// Partitions, md and loop devices.
func TestOtherLayers(t *testing.T) {
	path := vm.Device(t, diskSCSI)
	seeds := stamp(t, diskSCSI)
	vm.Run(t, "sh", "-c", "printf '2048 40000\n50000 40000\n' | sed 's/ /,/' | sfdisk --quiet --wipe never --wipe-partitions never "+path)
	vm.Settle(t)
	for part, start := range map[string]int64{path + "1": 2048, path + "2": 50000} {
		dev := lookup(t, part)
		_, st, _ := read(t, dev)
		facts, err := machine.Facts(dev)
		if err != nil || facts.Part == nil || int64(facts.Part.Start) != start || facts.Part.Parent != number(t, diskSCSI) {
			t.Errorf("%s: %+v, %v", part, facts, err)
		}
		if found := checkResolved(t, st, dev, seeds); found[remap.Data] != st.Node(dev).Size {
			t.Errorf("%s: %v", part, found)
		}
	}

	file := filepath.Join(t.TempDir(), "image")
	vm.Run(t, "truncate", "-s", "16M", file)
	loop := strings.TrimSpace(vm.Run(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { vm.Run(t, "losetup", "-d", loop) })
	vm.Run(t, "mdadm", "--create", "/dev/md/test", "--run", "--level=0", "--raid-devices=2", "--homehost=any", path+"1", path+"2")
	t.Cleanup(func() { vm.Run(t, "mdadm", "--stop", "/dev/md/test") })
	vm.Settle(t)
	for name, want := range map[string]struct {
		kind   remap.Kind
		reason remap.Reason
		below  int
	}{loop: {remap.Opaque, "layer:loop", 0}, "/dev/md/test": {remap.Data, "", 2}} {
		dev := lookup(t, name)
		_, st, _ := read(t, dev)
		n := st.Node(dev)
		if p := n.Layer.Map(remap.Read, 0, 8); p.Kind != want.kind || p.Reason != want.reason || len(n.Layer.Below()) != want.below || !n.Mutable {
			t.Errorf("%s: %+v, %+v", name, n, p)
		}
	}
}

// Who uses a device: mounts, swap, holders, file systems of several devices.
func TestUsers(t *testing.T) {
	dir := t.TempDir()
	a, b := number(t, diskA), number(t, diskB)
	uses := func(dev remap.Dev) string {
		t.Helper()
		found, err := inuse.Users(machine, dev)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, use := range found {
			words = append(words, use.String())
		}
		return strings.Join(words, "; ")
	}
	expect := func(dev remap.Dev, want string) {
		t.Helper()
		if got := uses(dev); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect(a, "")
	plain := create(t, "us-plain", fmt.Sprintf("0 260000 linear %s 0", a))
	name := func(dev remap.Dev) string { return "dm-" + strconv.Itoa(int(dev.Minor)) }
	disk := filepath.Base(vm.Device(t, diskA))
	held := fmt.Sprintf("%s is held: %s", disk, name(plain))
	expect(a, held)

	vm.Run(t, "mkfs.ext4", "-q", "/dev/mapper/us-plain")
	vm.Run(t, "mount", "/dev/mapper/us-plain", dir)
	expect(plain, fmt.Sprintf("%s is mounted read-write: %s (ext4)", name(plain), dir))
	expect(a, fmt.Sprintf("%s; %s is mounted read-write: %s (ext4)", held, name(plain), dir))
	vm.Run(t, "mount", "-o", "remount,ro", dir)
	expect(plain, fmt.Sprintf("%s is mounted read-only: %s (ext4)", name(plain), dir))
	vm.Run(t, "umount", dir)

	vm.Run(t, "mkswap", "/dev/mapper/us-plain")
	vm.Run(t, "swapon", "/dev/mapper/us-plain")
	if got := uses(plain); !strings.HasPrefix(got, name(plain)+" is swap: ") {
		t.Errorf("swap: %q", got)
	}
	vm.Run(t, "swapoff", "/dev/mapper/us-plain")
	expect(plain, "")

	// mountinfo of a btrfs shows a number that is no device's, and one source.
	vm.Run(t, "mkfs.btrfs", "-q", "-f", "-m", "raid1", "-d", "raid1", "/dev/mapper/us-plain", vm.Device(t, diskB))
	vm.Run(t, "modprobe", "btrfs")
	vm.Settle(t)
	vm.Run(t, "btrfs", "device", "scan")
	vm.Run(t, "mount", "/dev/mapper/us-plain", dir)
	for _, dev := range []remap.Dev{plain, b} {
		if got := uses(dev); !strings.Contains(got, string(inuse.Member)+": btrfs ") {
			t.Errorf("a member of a btrfs: %q", got)
		}
	}
	if got := uses(plain); !strings.Contains(got, "mounted read-write: "+dir+" (btrfs)") {
		t.Errorf("the mounted device of a btrfs: %q", got)
	}
	vm.Run(t, "umount", dir)
}
