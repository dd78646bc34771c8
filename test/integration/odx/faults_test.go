package odx

import (
	"errors"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/vm"
)

// withinUnits gives a target EXTENDED COPY, for one unit at a time.
func withinUnits(c *target.Config) {
	c.XCopy = target.DefaultCopyLimits()
	c.XCopy.Units = 1
}

const (
	populate = "populate-token"
	write    = "write-using-token"
	receive  = "receive-token"
)

// faultyCase is something that goes wrong in a copy of several tokens, the first of which is the proof of the pair.
type faultyCase struct {
	name   string
	faults []target.Fault
	change func(*target.Target)
	// reason of what goes through the host; empty: nothing does.
	reason remap.Reason
	// host is how many bytes do at least, if there is a reason.
	host int64
	// fails is the error of the copy.
	fails error
	// silent: a command gets no answer. The kernel takes its time then, longer than a layout is held maybe, so that these
	// copy between whole disks.
	silent bool
}

const (
	faultySize = 6 * mib
	// oneToken is what the shortest token stands for: the last one lacks what was copied for the proof.
	oneToken = tokenBytes - 128<<10
)

// Whatever goes wrong, the bytes are right in the end, or the copy says that it failed.
func TestFaults(t *testing.T) {
	attention := scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29, ASCQ: 0x07}
	c := attach(t, nil, nil, 16*mib, 16*mib, faultySize, faultySize)
	vm.GroupOf(t, "vg", "1m", c.disks[:2]...)
	src, dst := vm.Volume(t, "vg", "from", faultySize, c.disks[0]), vm.Volume(t, "vg", "to", faultySize, c.disks[1])
	for _, from := range []string{src, c.disks[2]} {
		vm.Stamp(t, from, 1, 0, faultySize)
	}
	for _, tc := range []faultyCase{
		{name: "none"},
		{name: "delay", faults: []target.Fault{{Command: populate, Work: 30 * time.Millisecond}, {Command: write, Work: 30 * time.Millisecond}, {Command: receive, Delay: 10 * time.Millisecond}}},
		{name: "short tokens", faults: []target.Fault{{Command: populate, Skip: 1, Short: 777}}},
		{name: "short writes", faults: []target.Fault{{Command: write, Skip: 1, Short: 555}}},
		{name: "short everything", faults: []target.Fault{{Command: populate, Short: 1001}, {Command: write, Short: 333}}},
		{name: "attention", faults: []target.Fault{{Command: populate, Skip: 1, Times: 1, Sense: attention}, {Command: write, Skip: 2, Times: 1, Sense: attention}}},
		{name: "busy", faults: []target.Fault{{Command: write, Skip: 1, Times: 1, Status: scsi.Busy}}},
		{name: "a token expires in the middle", faults: []target.Fault{{Command: write, Skip: 3, Times: 2, Expire: true}}},
		{name: "a token expires half written", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Short: 1000}, {Command: write, Skip: 2, Times: 1, Expire: true}}},
		{name: "a token is revoked in the middle", faults: []target.Fault{{Command: write, Skip: 2, Times: 3, Revoke: true}}},
		{name: "limits that are no limits", change: func(t *target.Target) { t.Enforce(&target.TokenLimits{Ranges: 2, TransferBlocks: 300, MaxTimeout: 60}) }},

		{name: "tokens expire for good", faults: []target.Fault{{Command: write, Skip: 3, Expire: true}}, reason: "device:sense-5-23-07", host: oneToken},
		{name: "tokens are always revoked", faults: []target.Fault{{Command: write, Revoke: true}}, reason: "device:sense-5-23-06", host: faultySize},
		{name: "no resources", faults: []target.Fault{{Command: populate, Skip: 2, Sense: scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x55, ASCQ: 0x0D}}}, reason: "device:sense-5-55-0d", host: oneToken},
		{name: "a bad medium", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Sense: scsi.SenseCode{Key: scsi.MediumError, ASC: 0x0C}}}, reason: "device:sense-3-0c-00", host: oneToken},
		{name: "wrong residual of a write", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Residual: 64}}, reason: "device:short-transfer", host: oneToken},
		{name: "wrong residual of an answer", faults: []target.Fault{{Command: receive, Skip: 4, Times: 1, Residual: 900}}, reason: "device:untold", host: oneToken},
		{name: "too much is said to be written", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Lie: 1 << 20}}, reason: "device:untold", host: oneToken},
		{name: "a completion is lost", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Lose: true}}, reason: "device:host-0x03", host: oneToken, silent: true},
		{name: "a write goes on that was taken back", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Work: time.Hour, Ghost: true}}, reason: "device:host-0x03", host: oneToken, silent: true},
		{name: "a token is never given", faults: []target.Fault{{Command: populate, Skip: 2, Times: 1, Drop: true}}, reason: "device:host-0x03", host: oneToken, silent: true},
		{name: "data are corrupt", faults: []target.Fault{{Command: write, Corrupt: true}}, reason: "domain:proof-failed", host: faultySize},

		{name: "data are corrupt later", faults: []target.Fault{{Command: write, Skip: 3, Times: 1, Corrupt: true}}, fails: failure.ErrMismatch},
		{name: "a write is lost", faults: []target.Fault{{Command: write, Skip: 2, Times: 1, Drop: true}}, fails: failure.ErrFenced, silent: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.silent {
				c.faulty(t, tc, c.disks[2], c.disks[3], dispatch.Options{Waits: dispatch.Waits{CommandTimeout: 4 * time.Second}})
				return
			}
			c.faulty(t, tc, src, dst, dispatch.Options{})
		})
	}
}

func (c *cabinet) faulty(t *testing.T, tc faultyCase, src, dst string, opts dispatch.Options) {
	vm.Stamp(t, dst, 2, 0, faultySize)
	vm.Settle(t)
	for _, f := range tc.faults {
		c.Inject(f)
	}
	if tc.change != nil {
		tc.change(c.Target)
	}
	if tc.fails == failure.ErrMismatch {
		opts.Verify = account.VerifyFull
	}
	report, err := copying.Copy(src, dst, opts)
	if cleared := c.Clear(); cleared != nil {
		t.Error(cleared)
	}
	t.Logf("%+v, %v", report, err)
	vm.CheckStamp(t, src, 1, 0, 0, faultySize)
	if !errors.Is(err, tc.fails) {
		t.Fatalf("%v, want %v", err, tc.fails)
	}
	if err != nil {
		return
	}
	vm.CheckStamp(t, dst, 1, 0, 0, faultySize)
	if report.Offloaded != report.ByMethod[odx] || report.Offloaded+report.Host != faultySize {
		t.Errorf("not all by tokens or through the host")
	}
	switch {
	case tc.reason == "" && (report.Host != 0 || len(report.Reasons) != 0):
		t.Errorf("something went through the host")
	case tc.reason != "" && (report.Host < tc.host || len(report.Reasons) != 1 || report.Reasons[0].Reason != tc.reason || report.Reasons[0].Bytes != report.Host):
		t.Errorf("want %d bytes or more through the host because of %s", tc.host, tc.reason)
	case tc.host == oneToken && report.Offloaded == 0:
		t.Errorf("nothing was offloaded")
	}
}

// Two disks of one name copy to each other through the host, if at all.
func TestOneNameTwice(t *testing.T) {
	const size = 4 * mib
	c := attach(t, nil, func(made *target.Target) {
		if err := made.Impersonate(1, 0); err != nil {
			t.Fatal(err)
		}
	}, size, size)
	vm.Stamp(t, c.disks[0], 1, 0, size)
	vm.Stamp(t, c.disks[1], 2, 0, size)
	vm.Settle(t)
	report, err := copying.Copy(c.disks[0], c.disks[1], dispatch.Options{})
	if err != nil || report.Host != size || len(report.Reasons) != 1 || report.Reasons[0].Reason != copydomain.ReasonDuplicate {
		t.Errorf("%+v, %v", report, err)
	}
	vm.CheckStamp(t, c.disks[0], 1, 0, 0, size)
	vm.CheckStamp(t, c.disks[1], 1, 0, 0, size)
	if n := c.Count(populate) + c.Count(write); n != 0 {
		t.Errorf("%d commands", n)
	}
}
