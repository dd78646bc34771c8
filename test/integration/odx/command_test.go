package odx

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/vm"
)

// What the command says of disks that copy by tokens, before and after.
func TestCommand(t *testing.T) {
	const size = 4 * mib
	c := attach(t, withinUnits, nil, size, size)
	src, dst := c.disks[0], c.disks[1]
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)

	domains := vm.Run(t, "dmcopy", "domains", src, dst)
	for _, want := range []string{"scsi-xcopy", "scsi-odx, 2048 blocks in 64 ranges a token", "scsi:naa.32dc09e000000000"} {
		if !strings.Contains(domains, want) {
			t.Errorf("no %q in\n%s", want, domains)
		}
	}
	plan := vm.Run(t, "dmcopy", "plan", src, dst)
	if !strings.Contains(plan, "scsi-odx") {
		t.Errorf("no scsi-odx in\n%s", plan)
	}
	var report account.Report
	if err := json.Unmarshal([]byte(vm.Run(t, "dmcopy", "copy", "--json", "--verify", "full", "--progress", "none", src, dst)), &report); err != nil {
		t.Fatal(err)
	}
	if report.Result != account.OutcomeOK || report.ByMethod[odx] != size || report.Verified != account.VerifyFull {
		t.Errorf("%+v", report)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, size)
}

// A connection that breaks under a write: nobody knows what became of it, and the copy says so. The next one, over a
// connection that the kernel has made anew, is none the worse for it.
func TestConnectionBreaks(t *testing.T) {
	const size = 4 * mib
	c := attach(t, nil, nil, size, size)
	src, dst := c.disks[0], c.disks[1]
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)
	c.Inject(target.Fault{Command: write, Skip: 2, Times: 1, Work: time.Hour})
	over := make(chan struct{})
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		for c.Count(write) < 3 {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
		}
		c.server.Hangup()
	}()
	report, err := copying.Copy(src, dst, dispatch.Options{Waits: dispatch.Waits{CommandTimeout: 30 * time.Second}})
	close(over)
	<-broken
	t.Logf("%+v, %v", report, err)
	if !errors.Is(err, failure.ErrFenced) {
		t.Fatal(err)
	}
	if err := c.Clear(); err != nil {
		t.Fatal(err)
	}
	c.Expire() // what the first copy has left
	c.offloaded(t, src, dst, size)
}
