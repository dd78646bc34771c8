// Package odx proves token copies (ODX) on a real kernel: a target of our own, its disks attached by the kernel's
// initiator, and stacks that real tools have built on them.
package odx

import (
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/target/initiator"
	"github.com/dmcopy/dmcopy/test/target/iscsi"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// odx is the method that everything here is about.
const odx = account.Method(copydomain.SCSIODX)

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"}})
}

// cabinet is a target with its disks.
type cabinet struct {
	*target.Target
	server *iscsi.Server
	disks  []string
}

// tokenBytes is what a token of the cabinets stands for at most: a copy needs several.
const tokenBytes = 1 * mib

// attach makes a target of disks of 512 byte blocks, changes it, and returns its disks.
func attach(t *testing.T, edit func(*target.Config), before func(*target.Target), sizes ...int64) *cabinet {
	t.Helper()
	c := target.Config{Tokens: target.DefaultTokenLimits()}
	c.Tokens.TransferBlocks = tokenBytes / 512
	for _, size := range sizes {
		c.Disks = append(c.Disks, target.Disk{Blocks: uint64(size / 512), BlockSize: 512})
	}
	if edit != nil {
		edit(&c)
	}
	made, err := target.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(made)
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
	return &cabinet{made, server, initiator.Attach(t, server)}
}

// offloaded copies between stamped volumes, which the target has to do all alone.
func (c *cabinet) offloaded(t *testing.T, src, dst string, size int64) *account.Report {
	t.Helper()
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)
	var report *account.Report
	var err error
	through := vm.Crossed(t, func() { report, err = copying.Copy(src, dst, dispatch.Options{Offload: plan.OffloadRequire}) }, c.disks...)
	if err != nil {
		t.Fatalf("%v: %+v", err, report)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, size)
	if report.Offloaded != size {
		t.Errorf("%+v", report)
	}
	t.Logf("%+v; %d sectors through the host", report, through)
	if through > uint64(size/512/5) {
		t.Errorf("%d sectors crossed the host for a copy of %d", through, size/512)
	}
	if n := c.Tokens(); n != 0 {
		t.Errorf("%d tokens are left", n)
	}
	return report
}

// The kernel takes the disks for what they are, and reads what it writes.
func TestDisks(t *testing.T) {
	c := attach(t, func(c *target.Config) {
		c.Disks = append(c.Disks, target.Disk{Blocks: 8 * mib / 4096, BlockSize: 4096})
	}, nil, 16*mib)
	for i, size := range []int64{16 * mib, 8 * mib} {
		vm.Stamp(t, c.disks[i], uint64(i), 0, size)
		vm.CheckStamp(t, c.disks[i], uint64(i), 0, 0, size)
	}
	page := vm.Run(t, "sg_vpd", "-p", "0x8f", c.disks[0])
	for _, want := range []string{"Populate token", "Write using token", "Receive ROD token information", "Maximum range descriptors: 0x40", "access upon reference", "block device zero"} {
		if !strings.Contains(page, want) {
			t.Errorf("sg_vpd does not say %q:\n%s", want, page)
		}
	}
}

func TestBetweenUnits(t *testing.T) {
	c := attach(t, nil, nil, 24*mib, 24*mib)
	vm.GroupOf(t, "vg", "1m", c.disks...)
	report := c.offloaded(t, vm.Volume(t, "vg", "from", 16*mib, c.disks[0]), vm.Volume(t, "vg", "to", 16*mib, c.disks[1]), 16*mib)
	if report.ByMethod[odx] != 16*mib {
		t.Errorf("%+v", report)
	}
}

// Pieces of a striped volume go within a unit and between units by turns: by EXTENDED COPY, which this target has within
// a unit only, and by tokens.
func TestBothMethods(t *testing.T) {
	c := attach(t, withinUnits, nil, 24*mib, 24*mib)
	vm.GroupOf(t, "vg", "1m", c.disks...)
	report := c.offloaded(t, vm.Volume(t, "vg", "from", 8*mib, "-i", "2", "-I", "64k"), vm.Volume(t, "vg", "to", 8*mib, c.disks[1]), 8*mib)
	if report.ByMethod[odx] != 4*mib || report.ByMethod[account.Method(copydomain.SCSIXCopy)] != 4*mib {
		t.Errorf("%+v", report)
	}
}

func TestLongBlocks(t *testing.T) {
	const size = 8 * mib
	c := attach(t, func(c *target.Config) {
		for i := range c.Disks[:2] {
			c.Disks[i] = target.Disk{Blocks: size / 4096, BlockSize: 4096}
		}
	}, nil, size, size, size)
	if report := c.offloaded(t, c.disks[0], c.disks[1], size); report.ByMethod[odx] != size {
		t.Errorf("%+v", report)
	}
	report, err := copying.Copy(c.disks[0], c.disks[2], dispatch.Options{})
	if err != nil || report.Host != size || len(report.Reasons) != 1 || report.Reasons[0].Reason != "domain:block-size" {
		t.Errorf("%+v, %v", report, err)
	}
	vm.CheckStamp(t, c.disks[2], 1, 0, 0, size)
}
