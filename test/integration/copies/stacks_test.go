package copies

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// stackCase is a source and a destination, and what becomes of a copy.
type stackCase struct {
	name  string
	build func(t *testing.T) (src, dst string, size int64)
	// host is the share of the bytes that goes through the host, in 1/4.
	host    int64
	reasons []remap.Reason
	// disks are those of which hardly any sector may be seen by the host.
	disks []vm.Disk
}

const stackSize = 64 * mib

// fragmented makes a volume of several segments: of each of its neighbours a
// piece is given back, and the volume grows into the gaps.
func fragmented(t *testing.T, name string, disk string) string {
	t.Helper()
	const part = stackSize / 4
	path := vm.Volume(t, "vg", name, part, disk)
	for i := range 3 {
		gap := fmt.Sprintf("gap%s%d", name, i)
		vm.Volume(t, "vg", gap, 4*mib, disk)
		vm.Run(t, "lvextend", "-y", "-L", fmt.Sprintf("+%db", part), path, disk)
	}
	segments := strings.Fields(vm.Run(t, "lvs", "--noheadings", "-o", "seg_count", path))
	if segments[0] != "4" {
		t.Fatalf("%s has %s segments", path, segments[0])
	}
	return path
}

// partitioned makes one partition on the disk.
func partitioned(t *testing.T, disk string) string {
	t.Helper()
	vm.Run(t, "parted", "-s", disk, "mklabel", "gpt", "mkpart", "p", "3MiB", "200MiB")
	vm.Settle(t)
	t.Cleanup(func() {
		vm.Run(t, "wipefs", "-a", disk)
		vm.Run(t, "blockdev", "--rereadpt", disk)
	})
	return disk + "p1"
}

var stackCases = []stackCase{
	{
		name: "fragmented", disks: []vm.Disk{alpha},
		build: func(t *testing.T) (string, string, int64) {
			disk := vm.Device(t, alpha)
			vm.Group(t, "vg", disk)
			return fragmented(t, "a", disk), fragmented(t, "b", disk), stackSize
		},
	},
	{
		name: "two subsystems", host: 2, reasons: []remap.Reason{"domain:different-subsystem"},
		build: func(t *testing.T) (string, string, int64) {
			one, two := vm.Device(t, alpha), vm.Device(t, beta)
			vm.Group(t, "vg", one, two)
			src := vm.Volume(t, "vg", "a", stackSize, one)
			dst := vm.Volume(t, "vg", "b", stackSize/2, one)
			vm.Run(t, "lvextend", "-y", "-L", fmt.Sprintf("+%db", stackSize/2), dst, two)
			return src, dst, stackSize
		},
	},
	{
		name: "two namespaces", host: 4, reasons: []remap.Reason{"domain:cross-namespace-disabled"},
		build: func(t *testing.T) (string, string, int64) {
			one, two := vm.Device(t, alpha), vm.Device(t, alpha2)
			vm.Group(t, "vg", one, two)
			return vm.Volume(t, "vg", "a", stackSize, one), vm.Volume(t, "vg", "b", stackSize, two), stackSize
		},
	},
	{
		name: "striped to linear", host: 2, reasons: []remap.Reason{"domain:different-subsystem"},
		build: func(t *testing.T) (string, string, int64) {
			one, two := vm.Device(t, alpha), vm.Device(t, beta)
			vm.Group(t, "vg", one, two)
			return vm.Volume(t, "vg", "a", stackSize, "-i2", "-I64k"), vm.Volume(t, "vg", "b", stackSize, one), stackSize
		},
	},
	{
		name: "striped to striped", disks: []vm.Disk{alpha, beta},
		build: func(t *testing.T) (string, string, int64) {
			vm.Group(t, "vg", vm.Device(t, alpha), vm.Device(t, beta))
			return vm.Volume(t, "vg", "a", stackSize, "-i2", "-I64k"), vm.Volume(t, "vg", "b", stackSize, "-i2", "-I64k"), stackSize
		},
	},
	{
		name: "partition as physical volume", disks: []vm.Disk{beta},
		build: func(t *testing.T) (string, string, int64) {
			vm.Group(t, "vg", partitioned(t, vm.Device(t, beta)))
			return vm.Volume(t, "vg", "a", stackSize), vm.Volume(t, "vg", "b", stackSize), stackSize
		},
	},
	{
		name: "linear on linear on partition", disks: []vm.Disk{beta},
		build: func(t *testing.T) (string, string, int64) {
			part := partitioned(t, vm.Device(t, beta))
			lower := vm.Mapped(t, "lower", fmt.Sprintf("0 %d linear %s 77", 3*stackSize/512, part))
			middle := vm.Mapped(t, "middle", fmt.Sprintf("0 %d linear %s 33", 5*stackSize/1024, lower))
			src := vm.Mapped(t, "src", fmt.Sprintf("0 %d linear %s 0", stackSize/512, middle))
			return src, vm.Mapped(t, "dst", fmt.Sprintf("0 %d linear %s %d", stackSize/512, middle, stackSize/512+8)), stackSize
		},
	},
	{
		name: "partition to whole disk range", disks: []vm.Disk{beta},
		build: func(t *testing.T) (string, string, int64) {
			disk := vm.Device(t, beta)
			vm.Run(t, "parted", "-s", disk, "mklabel", "gpt", "mkpart", "a", "1MiB", "65MiB", "mkpart", "b", "70MiB", "134MiB")
			vm.Settle(t)
			t.Cleanup(func() { vm.Run(t, "wipefs", "-a", disk); vm.Run(t, "blockdev", "--rereadpt", disk) })
			return disk + "p1", disk + "p2", stackSize
		},
	},
	{
		name: "LUKS", host: 4, reasons: []remap.Reason{"layer:crypt"},
		build: func(t *testing.T) (string, string, int64) {
			vm.Group(t, "vg", vm.Device(t, alpha))
			lower := vm.Volume(t, "vg", "a", stackSize+16*mib) // the header takes 16 MiB
			key := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(key, []byte("a secret of no use"), 0o600); err != nil {
				t.Fatal(err)
			}
			vm.Run(t, "cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", lower, key)
			vm.Run(t, "cryptsetup", "open", "--key-file", key, lower, "luks")
			t.Cleanup(func() { vm.Run(t, "cryptsetup", "close", "luks") })
			return "/dev/mapper/luks", vm.Volume(t, "vg", "b", stackSize), stackSize
		},
	},
	{
		name: "4Kn", disks: []vm.Disk{fourK},
		build: func(t *testing.T) (string, string, int64) {
			vm.Group(t, "vg", vm.Device(t, fourK))
			return vm.Volume(t, "vg", "a", stackSize), vm.Volume(t, "vg", "b", stackSize), stackSize
		},
	},
	{
		name: "virtio", host: 4, reasons: []remap.Reason{"domain:no-method"},
		build: func(t *testing.T) (string, string, int64) {
			vm.Group(t, "vg", vm.Device(t, plain))
			return vm.Volume(t, "vg", "a", stackSize), vm.Volume(t, "vg", "b", stackSize), stackSize
		},
	},
	{
		name: "unknown target", host: 4, reasons: []remap.Reason{"layer:flakey"},
		build: func(t *testing.T) (string, string, int64) {
			disk := vm.Device(t, alpha)
			src := vm.Mapped(t, "src", fmt.Sprintf("0 %d linear %s 2048", stackSize/512, disk))
			return src, vm.Mapped(t, "dst", fmt.Sprintf("0 %d flakey %s %d 3600 0", stackSize/512, disk, 2048+stackSize/512)), stackSize
		},
	},
	{
		name: "zero source", // Write Zeroes counts as written sectors
		build: func(t *testing.T) (string, string, int64) {
			disk := vm.Device(t, alpha)
			src := vm.Mapped(t, "src", fmt.Sprintf("0 %d linear %s 2048\n%d %d zero", stackSize/1024, disk, stackSize/1024, stackSize/1024))
			dst := vm.Mapped(t, "dst", fmt.Sprintf("0 %d linear %s %d", stackSize/512, disk, 2048+stackSize/512))
			return src, dst, stackSize
		},
	},
}

// TestStacks copies between stacks of every kind, reads back through the top,
// looks at what crossed the host, and compares the map with the kernel's.
func TestStacks(t *testing.T) {
	for i, c := range stackCases {
		t.Run(c.name, func(t *testing.T) {
			src, dst, size := c.build(t)
			seed := uint64(i + 1)
			if c.name == "zero source" {
				vm.Stamp(t, src, seed, 0, size/2)
			} else {
				vm.Stamp(t, src, seed, 0, size)
			}
			want, err := vm.Hash(src, 0, size)
			if err != nil {
				t.Fatal(err)
			}
			vm.Settle(t)
			var disks []string
			for _, d := range c.disks {
				disks = append(disks, vm.Device(t, d))
			}
			var report *account.Report
			host := vm.Crossed(t, func() { report = mustCopy(t, src, dst, dispatch.Options{}) }, disks...)
			got, err := vm.Hash(dst, 0, size)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("the destination is not equal to the source")
			}
			if report.Host != size/4*c.host {
				t.Errorf("%d of %d bytes through the host, want %d: %+v", report.Host, size, size/4*c.host, report)
			}
			checkReasons(t, report, c.reasons)
			compareMap(t, src, size)
			compareMap(t, dst, size)
			// Proof and anchors read a little at the leaves.
			if host > uint64(size/512/10) {
				t.Errorf("%d sectors crossed the host for a copy of %d", host, size/512)
			}
		})
	}
}

func checkReasons(t *testing.T, report *account.Report, want []remap.Reason) {
	t.Helper()
	given := make(map[remap.Reason]int64)
	for _, r := range report.Reasons {
		given[r.Reason] = r.Bytes
	}
	delete(given, plan.ReasonZeroSource)
	for _, r := range want {
		if given[r] != report.Host {
			t.Errorf("reason %s for %d bytes, want %d", r, given[r], report.Host)
		}
		delete(given, r)
	}
	if len(given) > 0 {
		t.Errorf("unexpected reasons %v", given)
	}
}

// TestStripedCommands counts: stripes that lie side by side on both ends make
// long runs again, so that interleaving costs no commands.
func TestStripedCommands(t *testing.T) {
	vm.Group(t, "vg", vm.Device(t, alpha), vm.Device(t, beta))
	const size, stripes, limit = 512 * mib, 2, 8 * mib
	a, b := vm.Volume(t, "vg", "a", size, "-i2", "-I64k"), vm.Volume(t, "vg", "b", size, "-i2", "-I64k")
	vm.Stamp(t, a, 3, 0, size)
	report := mustCopy(t, a, b, dispatch.Options{Offload: plan.OffloadRequire})
	vm.CheckStamp(t, b, 3, 0, 0, size)
	fewest := int64(stripes * (size / stripes / limit))
	t.Logf("%d commands, %d at the least, %d windows", report.Commands, fewest, report.Windows)
	if report.Commands*10 > fewest*11 {
		t.Errorf("%d commands, want at most 1.1 × %d", report.Commands, fewest)
	}
}

// TestBoundaries copies runs that begin and end next to every boundary of the
// stack.
func TestBoundaries(t *testing.T) {
	disk := vm.Device(t, alpha)
	// Segments and limits of a command (2048 and 16384 sectors) meet at
	// different places on either side.
	src := vm.Mapped(t, "src", fmt.Sprintf("0 5000 linear %s 100000\n5000 30000 linear %s 200001\n35000 5000 linear %s 300007", disk, disk, disk))
	dst := vm.Mapped(t, "dst", fmt.Sprintf("0 16384 linear %s 400000\n16384 23616 linear %s 500003", disk, disk))
	const size = 40000 * 512
	vm.Stamp(t, src, 9, 0, size)
	for _, start := range []int64{0, 1, 4999, 5001, 39999} {
		for _, length := range []int64{1, 2047, 2049, 16385, 20000} {
			if start+length > 40000 {
				continue
			}
			for _, to := range []int64{0, 1, 16384 - length, 40000 - length} {
				if to < 0 || to+length > 40000 {
					continue
				}
				r := byterange.Range{Src: start * 512, Dst: to * 512, Len: length * 512}
				mustCopy(t, src, dst, dispatch.Options{Offload: plan.OffloadRequire, Hold: "trust"}, r)
				vm.CheckStamp(t, dst, 9, r.Dst, r.Src, r.Len)
				if t.Failed() {
					t.Fatalf("range %+v", r)
				}
			}
		}
	}
}

// TestLarge copies more than 4 GiB, from and to places beyond 4 GiB.
func TestLarge(t *testing.T) {
	vm.Group(t, "vg", vm.Device(t, alpha))
	const size = 5 * gib
	a, b := vm.Volume(t, "vg", "a", size), vm.Volume(t, "vg", "b", size)
	places := []int64{0, 1 * gib, 2*gib - mib, 4*gib - mib, 4 * gib, 5*gib - 2*mib}
	for _, p := range places {
		vm.Stamp(t, a, 4, p, 2*mib)
	}
	report := mustCopy(t, a, b, dispatch.Options{Offload: plan.OffloadRequire})
	if report.Offloaded != size {
		t.Errorf("%+v", report)
	}
	if err := vm.Compare(a, 0, b, 0, size); err != nil {
		t.Error(err)
	}
	for _, p := range places {
		vm.CheckStamp(t, b, 4, p, p, 2*mib)
	}
}
