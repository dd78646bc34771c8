// Package foreign has programs that are not ours use our test target, and our program use targets that are not ours: what
// both sides of our own agree on, both can have wrong.
package foreign

import (
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/target/initiator"
	"github.com/dmcopy/dmcopy/test/target/iscsi"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// name of our target.
const name = "iqn.2026-01.org.dmcopy:disks"

func TestMain(m *testing.M) {
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	vm.Main(m, vm.Machine{Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"}})
}

// serve makes a target that knows all ways of copying, of disks with blocks of the given sizes, and serves it.
func serve(t *testing.T, size int64, blockSizes ...uint32) (*target.Target, *iscsi.Server) {
	t.Helper()
	c := target.Config{Tokens: target.DefaultTokenLimits(), XCopy: target.DefaultCopyLimits()}
	for _, block := range blockSizes {
		c.Disks = append(c.Disks, target.Disk{Blocks: uint64(size) / uint64(block), BlockSize: block})
	}
	made, err := target.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server, err := iscsi.Serve("127.0.0.1:0", name, made, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return made, server
}

// twoDisks of such a target, attached: the first is stamped with 1, the second with 2.
func twoDisks(t *testing.T, size int64) (*target.Target, []string) {
	t.Helper()
	made, server := serve(t, size, 512, 512)
	disks := initiator.Attach(t, server)
	for i, disk := range disks {
		vm.Stamp(t, disk, uint64(i+1), 0, size)
	}
	vm.Settle(t)
	return made, disks
}
