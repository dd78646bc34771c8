// Package foreign has programs that are not ours use our test target, and our program use targets that are not ours: what
// both sides of our own agree on, both can have wrong.
package foreign

import (
	"bytes"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"

	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/target/initiator"
	"github.com/dmcopy/dmcopy/test/target/iscsi"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// name of our target.
const name = "iqn.2026-01.org.dmcopy:disks"

func TestMain(m *testing.M) {
	dispatch.Main()
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
	for unit := range 2 {
		if err := made.Fill(unit, stamp(uint64(unit+1), 0, size), 0); err != nil {
			t.Fatal(err)
		}
	}
	return made, initiator.Attach(t, server)
}

func stamp(seed uint64, off, n int64) []byte {
	p := make([]byte, n)
	vm.FillStamp(p, seed, off)
	return p
}

// run is what is copied from the first disk to the second, in units.
type run struct{ from, to, n int64 }

// zeroes is where a run comes from that is zeroes.
const zeroes = -1

// check: the second of two disks that were stamped holds the runs, and no other byte of both has changed.
func check(t *testing.T, made *target.Target, size, unit int64, want ...run) {
	t.Helper()
	disks := [][]byte{stamp(1, 0, size), stamp(2, 0, size)}
	for _, r := range want {
		data := make([]byte, r.n*unit)
		if r.from != zeroes {
			copy(data, disks[0][r.from*unit:])
		}
		copy(disks[1][r.to*unit:], data)
	}
	for i, disk := range disks {
		got := make([]byte, size)
		if err := made.Bytes(i, got, 0); err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < size; at += 512 {
			if is, wants := got[at:at+512], disk[at:at+512]; !bytes.Equal(is, wants) {
				t.Fatalf("disk %d: sector at byte %d holds %s, want %s", i, at, vm.DescribeSector(is), vm.DescribeSector(wants))
			}
		}
	}
}
