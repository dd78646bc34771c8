// Package odx proves token copies (ODX) on a real kernel: a target of our own, its disks attached by the kernel's
// initiator, and stacks that real tools have built on them.
package odx

import (
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/target/initiator"
	"github.com/dmcopy/dmcopy/test/target/iscsi"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

func TestMain(m *testing.M) {
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	vm.Main(m, vm.Machine{})
}

// attach makes a target and returns its disks.
func attach(t *testing.T, c target.Config) (*target.Target, []string) {
	t.Helper()
	made, err := target.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server, err := iscsi.Serve("127.0.0.1:0", "iqn.2026-01.org.dmcopy:disks", made, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return made, initiator.Attach(t, server)
}

// The kernel takes the disks for what they are, and reads what it writes.
func TestDisks(t *testing.T) {
	behaviour := scsi.LIO()
	made, disks := attach(t, target.Config{
		Disks:  []target.Disk{{Blocks: 64 * mib / 512, BlockSize: 512}, {Blocks: 16 * mib / 4096, BlockSize: 4096}, {Blocks: 32 * mib / 512, BlockSize: 512}},
		Tokens: target.DefaultTokenLimits(), XCopy: &behaviour,
	})
	for i, size := range []int64{64 * mib, 16 * mib, 32 * mib} {
		vm.Stamp(t, disks[i], uint64(i), 0, size)
		vm.CheckStamp(t, disks[i], uint64(i), 0, 0, size)
		t.Log(vm.Run(t, "sg_inq", disks[i]))
		t.Log(vm.Run(t, "sg_vpd", "-p", "0x8f", disks[i]))
	}
	t.Log(vm.Run(t, "lsblk", "-o", "NAME,SIZE,LOG-SEC,WWN,SERIAL,MODEL"))
	for _, e := range made.Log() {
		if e.Name() == "unknown" {
			t.Logf("%d: % x: %v", e.Unit, e.CDB, e.Sense)
		}
	}
}
