package fabrics

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// onWire measures how many bytes go over the loopback interface while f runs, in
// both directions together: whatever is sent there is counted once. Nothing but the
// connections to the target uses it in a guest; their own traffic is counted, too:
// headers, acknowledgements, keep-alives.
func onWire(t *testing.T, f func()) (sent int64) {
	t.Helper()
	count := func() int64 {
		text, err := os.ReadFile("/sys/class/net/lo/statistics/tx_bytes")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	vm.Settle(t) // udev looks at what somebody else has written
	before := count()
	f()
	return count() - before
}

// passthru reaches a disk over the network, with that many connections.
func passthru(t *testing.T, disk vm.Disk, paths int) (device string, controllers []string) {
	t.Helper()
	device, controllers, ok := vm.PassthruController(t, disk, paths)
	if missing := vm.Kernel() == vm.KernelOld; ok == missing {
		t.Fatalf("kernel %s with CONFIG_NVME_TARGET_PASSTHRU: %v", vm.Kernel(), ok)
	}
	if !ok {
		t.Skip("Debian's 6.1 is built without CONFIG_NVME_TARGET_PASSTHRU")
	}
	return device, controllers
}

// TestStorageNodeCopies: a copy between volumes on a namespace that a storage node
// exports is made by the storage node. Of its bytes hardly any cross the network.
func TestStorageNodeCopies(t *testing.T) {
	device, _ := passthru(t, node, 1)
	const size = 256 * mib
	// The storage node sees the same physical volume on the disk itself.
	lvm := func(command string, args ...string) {
		vm.Run(t, command, append([]string{"-y", "--devices", device}, args...)...)
	}
	lvm("vgcreate", "vg", device)
	t.Cleanup(func() { lvm("vgremove", "-ff", "vg"); lvm("pvremove", "-ff", device) })
	create := func(name string, size int64) string {
		lvm("lvcreate", "-Wn", "-Zn", "-n", name, "-L", fmt.Sprintf("%db", size), "vg")
		return "/dev/vg/" + name
	}
	// The source is one run, the destination two, with a piece of somebody else between.
	src, dst := create("a", size), create("b", size/2)
	other := create("other", 4*mib)
	lvm("lvextend", "-L", fmt.Sprintf("%db", size), dst)
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, other, 2, 0, 4*mib)

	var offloaded, commands int64
	wire := onWire(t, func() {
		r := mustCopy(t, "--offload", "require", src, dst)
		offloaded, commands = r.Offloaded, r.Commands
	})
	t.Logf("offloaded: %d bytes in %d commands, %d bytes (%.3f %%) on the wire", offloaded, commands, wire, percent(wire, size))
	if offloaded != size || wire >= size/100 {
		t.Errorf("%d of %d bytes were offloaded, and %d went over the wire", offloaded, int64(size), wire)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, size)
	vm.CheckStamp(t, src, 1, 0, 0, size)
	vm.CheckStamp(t, other, 2, 0, 0, 4*mib)

	// The measure measures: the same without offload goes there and back.
	const part = 32 * mib
	wire = onWire(t, func() { mustCopy(t, "--offload", "never", "--length", "32M", src, dst) })
	t.Logf("through the host: %d bytes, %d bytes (%.0f %%) on the wire", int64(part), wire, percent(wire, part))
	if wire < 2*part {
		t.Errorf("%d bytes went over the wire for %d through the host", wire, int64(part))
	}
}

func percent(n, of int64) float64 { return 100 * float64(n) / float64(of) }
