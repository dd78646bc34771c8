package sysblock_test

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

func facts(t *testing.T, m *sysblocktest.Machine, name string) *sysblock.Facts {
	t.Helper()
	f, err := m.FS().Facts(m.Dev(name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFactsOfPartitionedNVMe(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.Set("nvme0n1", "queue/logical_block_size", "4096")
	m.Set("nvme0n1", "nguid", "0102")
	m.Part("nvme0n1", "nvme0n1p2", "259:2", 2, 2048, 4096)
	m.Set("nvme0n1p2", "ro", "1")
	m.Mapped("dm-0", "253:0", "vg-home", 4096, "nvme0n1p2")

	want := &sysblock.Facts{
		Dev: m.Dev("nvme0n1"), Name: "nvme0n1", Kind: sysblock.NVMe, Size: 1 << 20, Blocks: sysblock.Blocks{LogicalBlock: 4096, PhysicalBlock: 4096},
		Zoned: "none", WriteCache: "write back", DiskSeq: 1,
		Disk: &sysblock.Disk{
			WWID: "uuid.0000-nvme0n1", Serial: "serial0", Model: "Test Disk",
			NVMe: &sysblock.NS{
				NSID: 1, NGUID: "0102", EUI: "00 00 00 00 00 00 00 01", SubsystemNQN: "nqn.test:0", Serial: "serial0",
				Controllers: []string{"nvme0"}, Generic: "/dev/ng0n1",
			},
		},
	}
	disk := facts(t, m, "nvme0n1")
	if !reflect.DeepEqual(disk, want) {
		t.Errorf("got  %+v\nwant %+v", disk, want)
	}
	wantLeaf := &remap.Leaf{
		Driver: "nvme", Identity: "uuid.0000-nvme0n1", Zoned: "none", WriteCache: "write back",
		NVMe: &remap.NVMeLeaf{NSID: 1, Subsystem: "nqn.test:0", Serial: "serial0", Controller: "nvme0", Generic: "/dev/ng0n1"},
	}
	if leaf := disk.Leaf(); !reflect.DeepEqual(leaf, wantLeaf) || disk.Layer() != nil {
		t.Errorf("leaf %+v, layer %v", leaf, disk.Layer())
	}

	part := facts(t, m, "nvme0n1p2")
	wantPart := &sysblock.Facts{
		Dev: m.Dev("nvme0n1p2"), Name: "nvme0n1p2", Kind: sysblock.Partition, Size: 4096, Blocks: sysblock.Blocks{LogicalBlock: 4096, PhysicalBlock: 4096},
		ReadOnly: true, Zoned: "none", WriteCache: "write back", DiskSeq: 1,
		Part:    &sysblock.Part{Number: 2, Start: 2048, Parent: m.Dev("nvme0n1")},
		Holders: []remap.Dev{m.Dev("dm-0")},
	}
	if !reflect.DeepEqual(part, wantPart) {
		t.Errorf("got  %+v\nwant %+v", part, wantPart)
	}
	if layer := part.Layer(); layer != (remap.Shifted{Layer: "partition", Dev: m.Dev("nvme0n1"), Start: 2048}) || part.Leaf() != nil {
		t.Errorf("layer %+v, leaf %v", layer, part.Leaf())
	}
	if mapped := facts(t, m, "dm-0"); mapped.Kind != sysblock.DM || !slices.Equal(mapped.Slaves, []remap.Dev{m.Dev("nvme0n1p2")}) {
		t.Errorf("mapped device %+v", mapped)
	}
}

func TestFactsOfMultipathHead(t *testing.T) {
	m := sysblocktest.New(t)
	name := m.Multipath(3, 2, "259:4", 2048, "nvme1", "nvme0", "nvme10")
	f := facts(t, m, name)
	ns := f.Disk.NVMe
	if f.Kind != sysblock.NVMe || !ns.Multipath || !slices.Equal(ns.Controllers, []string{"nvme0", "nvme1", "nvme10"}) || ns.Generic != "/dev/ng3n2" {
		t.Errorf("%+v, %+v", f, ns)
	}
	if leaf := f.Leaf(); leaf.NVMe.Controller != "" || leaf.NVMe.NSID != 2 {
		t.Errorf("leaf %+v", leaf.NVMe)
	}
}

// A character device of the same name that belongs to another controller is
// not the namespace's.
func TestForeignGenericNode(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 8)
	m.NVMe(1, 1, "259:1", 8)
	m.File("sys/devices/pci0/nvme/other/x", "")
	m.Unset("nvme0n1", "../ng0n1/device")
	m.Link("sys/devices/pci0/nvme/nvme0/ng0n1/device", "sys/devices/pci0/nvme/other")
	if got := facts(t, m, "nvme0n1").Disk.NVMe.Generic; got != "" {
		t.Errorf("generic node %q", got)
	}
	m.Unset("nvme1n1", "../ng1n1")
	if got := facts(t, m, "nvme1n1").Disk.NVMe.Generic; got != "" {
		t.Errorf("generic node %q of a kernel without them", got)
	}
}

// What is made of other devices is never a leaf.
func TestKinds(t *testing.T) {
	m := sysblocktest.New(t)
	m.OnBus("sda", "8:0", "scsi", 2048, "wwid=naa.5000", "model=SCSI Disk ", "vendor=ACME")
	m.OnBus("vda", "254:0", "virtio", 2048)
	m.Set("vda", "serial", "virtio-serial")
	m.OnBus("xvda", "202:0", "xen", 2048)
	m.Disk("zram0", "252:0", 2048)
	m.Disk("nbd0", "43:0", 2048)
	m.Disk("loop0", "7:0", 0)
	m.Disk("drbd1", "147:1", 2048)
	m.Disk("ublkb0", "259:9", 2048)
	m.Stacked("md0", "9:0", 2048, "sda", "vda")
	m.Set("md0", "md/level", "raid1")
	m.Stacked("md_home", "9:126", 2048, "vda", "sda")
	m.Set("md_home", "md/level", "raid1")
	m.Stacked("bcache0", "251:0", 2048, "sda")
	m.Set("sda", "bcache/state", "clean") // the backing device has the directory too
	m.Stacked("new0", "240:0", 2048, "sda")
	for _, test := range []struct {
		name, kind, driver, identity string
		reason                       remap.Reason
		below                        []string
	}{
		{name: "sda", kind: "scsi", driver: "scsi", identity: "naa.5000"},
		{name: "vda", kind: "virtio", driver: "virtio", identity: "virtio-serial"},
		{name: "xvda", kind: "xen"},
		{name: "zram0", kind: "zram"},
		{name: "nbd0", kind: "nbd"},
		{name: "ublkb0", kind: "ublkb"},
		{name: "loop0", kind: "loop", reason: "layer:loop"},
		{name: "drbd1", kind: "drbd", reason: "layer:drbd"},
		{name: "md0", kind: "md", reason: "layer:md", below: []string{"sda", "vda"}},
		{name: "md_home", kind: "md", reason: "layer:md", below: []string{"sda", "vda"}},
		{name: "bcache0", kind: "bcache", reason: "layer:bcache", below: []string{"sda"}},
		{name: "new0", kind: "new", reason: "layer:new", below: []string{"sda"}},
	} {
		f := facts(t, m, test.name)
		layer, leaf := f.Layer(), f.Leaf()
		if string(f.Kind) != test.kind || (layer == nil) != (test.reason == "") || (leaf == nil) != (test.reason != "") {
			t.Errorf("%s: kind %s, layer %v, leaf %v", test.name, f.Kind, layer, leaf)
			continue
		}
		if leaf != nil {
			if leaf.Driver != test.driver || leaf.Identity != test.identity {
				t.Errorf("%s: leaf %+v", test.name, leaf)
			}
			continue
		}
		var below []remap.Dev
		for _, name := range test.below {
			below = append(below, m.Dev(name))
		}
		p := layer.Map(remap.Read, 0, 8)
		if p.Kind != remap.Opaque || p.Reason != test.reason || !slices.Equal(layer.Below(), below) {
			t.Errorf("%s: %+v on %v", test.name, p, layer.Below())
		}
	}
}

// Every file that is missing, unreadable or holds something else makes a device
// unread, with an error that names it: no default makes a map.
func TestBadFiles(t *testing.T) {
	for _, test := range []struct{ name, attr, value string }{
		{"nvme0n1", "size", ""}, {"nvme0n1", "size", "x"}, {"nvme0n1", "size", "-1"}, {"nvme0n1", "size", "99999999999999999999"}, {"nvme0n1", "size", "8 8"},
		{"nvme0n1", "ro", "2"}, {"nvme0n1", "ro", ""}, {"nvme0n1", "ro", "yes"},
		{"nvme0n1", "diskseq", "x"},
		{"nvme0n1", "nsid", "x"}, {"nvme0n1", "nsid", "4294967296"},
		{"nvme0n1", "queue/logical_block_size", "0"}, {"nvme0n1", "queue/logical_block_size", "513"}, {"nvme0n1", "queue/logical_block_size", "x"},
		{"nvme0n1", "queue/physical_block_size", "x"},
		{"nvme0n1", "queue/copy_max_hw_bytes", "much"}, {"nvme0n1", "queue/copy_max_hw_bytes", "9223372036854775808"},
		{"nvme0n1", "queue/zoned", "maybe"}, {"nvme0n1", "queue/write_cache", "write"},
		{"nvme0n1p1", "start", "x"}, {"nvme0n1p1", "partition", "x"}, {"nvme0n1p1", "size", "x"},
	} {
		m := sysblocktest.New(t)
		m.NVMe(0, 1, "259:0", 2048)
		m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 8, 8)
		m.Set(test.name, test.attr, test.value)
		err := mistrusted(t, m, test.name)
		if !errors.Is(err, sysblock.ErrValue) || !strings.Contains(err.Error(), test.attr) || !strings.Contains(err.Error(), `"`+test.value+`"`) ||
			!strings.Contains(err.Error(), test.name) {
			t.Errorf("%s/%s = %q: %v", test.name, test.attr, test.value, err)
		}
	}
	for _, attr := range []string{"size", "ro", "queue/logical_block_size", "queue/physical_block_size", "queue/zoned", "queue/write_cache", "slaves", "holders", "nsid", "device/subsysnqn", "device/serial"} {
		m := sysblocktest.New(t)
		m.NVMe(0, 1, "259:0", 2048)
		m.Unset("nvme0n1", attr)
		err := mistrusted(t, m, "nvme0n1")
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), attr) || errors.Is(err, sysblock.ErrGone) {
			t.Errorf("without %s: %v", attr, err)
		}
	}
}

// mistrusted is why a device is not read as a whole. It is no leaf and no map then, but
// tells what it is made of as far as that is known.
func mistrusted(t *testing.T, m *sysblocktest.Machine, name string) error {
	t.Helper()
	f := facts(t, m, name)
	if f.Unread == "" || f.Leaf() != nil {
		t.Fatalf("%s: trusted: %+v", name, f)
	}
	reason := sysblock.ReasonUnread
	if f.LowerUnknown {
		reason = sysblock.ReasonBlind
	}
	layer := f.Layer()
	if layer == nil {
		t.Fatalf("%s: without a layer: %+v", name, f)
	}
	for _, op := range []remap.Op{remap.Read, remap.Write} {
		if p := layer.Map(op, 0, 8); p.Kind != remap.Opaque || p.Reason != reason {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if f.Part != nil && !slices.Equal(layer.Below(), []remap.Dev{f.Part.Parent}) {
		t.Errorf("%s rests on %v", name, layer.Below())
	}
	return f.Cause()
}

// TestBlind: it is told apart whether what is below is known.
func TestBlind(t *testing.T) {
	for attr, want := range map[string]bool{"dm-0 slaves": true, "dm-0 queue/zoned": false, "dm-0 holders": false, "nvme0n1p1 start": true, "nvme0n1p1 ro": false, "nvme0n1 dev": false} {
		m := sysblocktest.New(t)
		m.NVMe(0, 1, "259:0", 2048)
		m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 8, 8)
		m.Mapped("dm-0", "253:0", "x", 8, "nvme0n1p1")
		name, attr, _ := strings.Cut(attr, " ")
		m.Unset(name, attr)
		if f := facts(t, m, name); f.LowerUnknown != want || (f.Unread == "") != (attr == "dev") {
			t.Errorf("%s without %s: %+v", name, attr, f)
		}
	}
}

// TestKernelCopy: a facility that no kernel has so far.
func TestKernelCopy(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 2048)
	for _, want := range []uint64{0, 1 << 30} {
		f := facts(t, m, "nvme0n1")
		if f.KernelCopy != want || f.Leaf().KernelCopy != int64(want) {
			t.Errorf("%d bytes, want %d", f.KernelCopy, want)
		}
		m.Set("nvme0n1", "queue/copy_max_hw_bytes", "1073741824")
	}
}

func TestNoDiskSeqBefore515(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 8)
	m.Unset("sda", "diskseq")
	if f := facts(t, m, "sda"); f.DiskSeq != 0 {
		t.Errorf("%+v", f)
	}
}

func TestGone(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 8)
	dev := m.Dev("sda")
	m.Remove("sda")
	_, err := m.FS().Facts(dev)
	if !errors.Is(err, sysblock.ErrGone) || !strings.Contains(err.Error(), "8:0") {
		t.Errorf("%v", err)
	}
}

func TestDevs(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sdb", "8:16", 8)
	m.Disk("sda", "8:0", 8)
	m.Disk("dm-0", "253:0", 8)
	m.Disk("x", "8:2", 8)
	devs, err := m.FS().Devs()
	want := []remap.Dev{{Major: 8}, {Major: 8, Minor: 2}, {Major: 8, Minor: 16}, {Major: 253}}
	if err != nil || !slices.Equal(devs, want) {
		t.Errorf("%v, %v", devs, err)
	}
}

func TestDevPath(t *testing.T) {
	if got := sysblock.DevPath("cciss!c0d0"); got != "/dev/cciss/c0d0" {
		t.Error(got)
	}
}
