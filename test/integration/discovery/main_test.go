// Package discovery proves on a real kernel that what is read of its devices is
// what the kernel and the tools of others say, and that ranges resolve to the
// sectors that the kernel really reads.
package discovery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var (
	diskA    = vm.Disk{Serial: "a", Size: 128 << 20}
	diskB    = vm.Disk{Serial: "b", NSID: 1, Size: 128 << 20, Controllers: 2}
	diskC    = vm.Disk{Serial: "b", NSID: 3, Size: 64 << 20, BlockSize: 4096, Controllers: 2}
	diskVirt = vm.Disk{Bus: vm.BusVirtio, Serial: "virt", Size: 64 << 20}
	diskSCSI = vm.Disk{Bus: vm.BusSCSI, Serial: "scsi", Size: 64 << 20}
)

func TestMain(m *testing.M) {
	// The kernel warns about every line of a table that is not aligned to a page.
	vm.Main(m, vm.Machine{Cmdline: "loglevel=3", Disks: []vm.Disk{diskA, diskB, diskC, diskVirt, diskSCSI}})
}

var machine sysblock.FS

// lookup finds a device by any name.
func lookup(t testing.TB, name string) remap.Dev {
	t.Helper()
	dev, err := machine.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// number is the device number of a disk of the machine.
func number(t testing.TB, d vm.Disk) remap.Dev { return lookup(t, vm.Device(t, d)) }

// create makes a mapped device of a table and removes it with the test. The
// cleanup keeps going, so that one failure does not hide the first.
func create(t testing.TB, name string, lines ...string) remap.Dev {
	t.Helper()
	file := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vm.Run(t, "dmsetup", "create", name, file)
	t.Cleanup(func() {
		if _, err := vm.TryRun("dmsetup", "remove", "--retry", name); err != nil {
			t.Error(err)
		}
	})
	vm.Settle(t)
	return lookup(t, "/dev/mapper/"+name)
}

func control(t testing.TB) *dmtable.Control {
	t.Helper()
	c, err := dmtable.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// read reads a snapshot and makes its stack.
func read(t testing.TB, devs ...remap.Dev) (*layout.Snapshot, *remap.Stack, *layout.Reader) {
	t.Helper()
	r := layout.NewReader(layout.Options{})
	t.Cleanup(func() { r.Close() })
	s, err := r.Read(context.Background(), devs...)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Stack()
	if err != nil {
		t.Fatal(err)
	}
	return s, st, r
}

// stamped tells for which devices checkResolved knows what they hold.
type stamped map[remap.Dev]uint64

// stamp fills disks with the addresses of their sectors.
func stamp(t testing.TB, disks ...vm.Disk) stamped {
	t.Helper()
	seeds := make(stamped)
	for i, d := range disks {
		path := vm.Device(t, d)
		vm.Stamp(t, path, uint64(100+i), 0, d.Size)
		seeds[lookup(t, path)] = uint64(100 + i)
	}
	return seeds
}

// checkResolved reads every sector of a device through the kernel, and demands
// that it is the one that the stack resolves to. It returns the number of
// sectors of each kind.
func checkResolved(t testing.TB, st *remap.Stack, dev remap.Dev, seeds stamped) map[remap.Kind]remap.Sector {
	t.Helper()
	node := st.Node(dev)
	found := make(map[remap.Kind]remap.Sector)
	for e, err := range st.Resolve(remap.Read, remap.Range{Dev: dev, Len: node.Size}) {
		if err != nil {
			t.Fatal(err)
		}
		found[e.Kind] += e.Len
		switch e.Kind {
		case remap.Data:
			seed, ok := seeds[e.Leg.Dev]
			if !ok {
				t.Fatalf("%s resolves to %s, which was not stamped", node.Name, e.Leg.Dev)
			}
			vm.CheckStamp(t, node.Path, seed, e.Start.Bytes(), e.Leg.Start.Bytes(), e.Len.Bytes())
		case remap.Zero:
			hash, err := vm.Hash(node.Path, e.Start.Bytes(), e.Len.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if zeroes, err := vm.Hash("/dev/zero", 0, e.Len.Bytes()); err == nil && hash != zeroes {
				t.Errorf("%s: sectors [%d,+%d) are not zero", node.Name, e.Start, e.Len)
			}
		case remap.Error:
			if _, err := vm.Hash(node.Path, e.Start.Bytes(), e.Len.Bytes()); err == nil {
				t.Errorf("%s: sectors [%d,+%d) can be read", node.Name, e.Start, e.Len)
			}
		}
	}
	return found
}

// lineOf prints a target the way dmsetup does.
func lineOf(target dmtable.Target) string {
	return strings.TrimSuffix(fmt.Sprintf("%d %d %s %s", target.Start, target.Len, target.Type, target.Params), " ")
}
