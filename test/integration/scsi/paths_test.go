package scsi

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

// How multipath devices take what comes from above (drivers/md/dm-mpath.c).
const (
	bios     = "2 queue_mode bio"
	requests = "2 queue_mode mq"
)

// unit is a logical unit that is reached over two ports.
type unit struct {
	paths [2]string
	top   string // the multipath device
}

// units exports two logical units over two ports each and makes multipath devices
// of them. Each path is a group of its own, so that the first one is used as long as
// it works.
func units(t *testing.T, mode string, size int64) [2]unit {
	t.Helper()
	disks := attach(t, wwn, 2, stored(t, lun{"a", serialA, size}, lun{"b", serialB, size}))
	leaveAlone(t)
	var both [2]unit
	for i := range both {
		u := unit{paths: [2]string{disks[0][i], disks[1][i]}}
		table := fmt.Sprintf("0 %d multipath %s 0 2 1 round-robin 0 1 1 %s 1 round-robin 0 1 1 %s 1", size/512, mode, u.paths[0], u.paths[1])
		u.top = vm.MappedAs(t, fmt.Sprintf("mp%d", i), fmt.Sprintf("mpath-test%d", i), table)
		both[i] = u
	}
	return both
}

// leaveAlone keeps udev from what it does to multipath devices: it takes paths out of
// those that no multipathd knows.
func leaveAlone(t *testing.T) {
	t.Helper()
	rules, err := filepath.Glob("/usr/lib/udev/rules.d/*")
	if err != nil {
		t.Fatal(err)
	}
	const over = "/run/udev/rules.d"
	vm.Run(t, "mkdir", "-p", over)
	masked := 0
	for _, r := range rules {
		if name := filepath.Base(r); strings.Contains(name, "multipath") || strings.Contains(name, "mpath") {
			vm.Run(t, "ln", "-sf", "/dev/null", filepath.Join(over, name))
			masked++
		}
	}
	if masked == 0 {
		t.Fatal("udev has no rules for multipath devices")
	}
	vm.Run(t, "udevadm", "control", "--reload")
}

// all are the disks of both units.
func all(u [2]unit) []string { return append(u[0].paths[:], u[1].paths[:]...) }

// lose makes a port of the target answer nothing any more, until the test ends.
func lose(t *testing.T, i int) {
	status := filepath.Join(port(wwn, i), "transport_status")
	set(t, status, "offline")
	t.Cleanup(func() { set(t, status, "online") })
}

func TestMultipath(t *testing.T) {
	const size = 8 * mib
	u := units(t, bios, 24*mib)
	t.Run("whole devices", func(t *testing.T) { offloaded(t, u[0].top, u[1].top, 24*mib, all(u)...) })
	vm.Group(t, "vg", u[0].top, u[1].top)
	from := vm.Volume(t, "vg", "from", size, u[0].top)
	t.Run("within", func(t *testing.T) { offloaded(t, from, vm.Volume(t, "vg", "beside", size, u[0].top), size, all(u)...) })
	t.Run("between", func(t *testing.T) { offloaded(t, from, vm.Volume(t, "vg", "to", size, u[1].top), size, all(u)...) })
}

// Requests pass the throttle that holds the layout: such a destination is for the
// host.
func TestMultipathOfRequests(t *testing.T) {
	const size = 8 * mib
	u := units(t, requests, 16*mib)
	throughHost(t, u[0].top, u[1].top, 16*mib, plan.ReasonHoldUnavailable)
	vm.Group(t, "vg", u[0].top, u[1].top)
	throughHost(t, vm.Volume(t, "vg", "from", size, u[0].top), vm.Volume(t, "vg", "to", size, u[1].top), size, plan.ReasonHoldUnavailable)
}

// A path that is not used any more: the commands go over the other one, what was
// under way meanwhile is copied by the host. That is nothing where the change was
// heard of before the command began.
func TestPathFails(t *testing.T) {
	const size = 16 * mib
	for name, fail := range map[string]func(t *testing.T, u [2]unit){
		"by order, of the destination": func(t *testing.T, u [2]unit) {
			vm.Run(t, "dmsetup", "message", "mp1", "0", "fail_path", u[1].paths[0])
		},
		"by order, of both": func(t *testing.T, u [2]unit) {
			for i := range u {
				vm.Run(t, "dmsetup", "message", fmt.Sprintf("mp%d", i), "0", "fail_path", u[i].paths[0])
			}
		},
		"with its port": func(t *testing.T, _ [2]unit) { lose(t, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			u := units(t, bios, 24*mib)
			vm.Group(t, "vg", u[0].top, u[1].top)
			src, dst := vm.Volume(t, "vg", "from", size, u[0].top), vm.Volume(t, "vg", "to", size, u[1].top)
			vm.Stamp(t, src, 1, 0, size)
			vm.Stamp(t, dst, 2, 0, size)
			vm.Settle(t)
			between := &onlooker{before: func(n int, _ copydomain.Pair) {
				if n == 3 { // before commands, not under one
					fail(t, u)
				}
			}}
			report, err := copying.Way{Between: between.in}.Copy(src, dst, dispatch.Options{Window: 2 * mib})
			if err != nil {
				t.Fatalf("%v: %+v", err, report)
			}
			vm.CheckStamp(t, src, 1, 0, 0, size)
			vm.CheckStamp(t, dst, 1, 0, 0, size)
			t.Logf("%+v, by path %v", report, between.used)
			if report.Offloaded+report.Host != size || report.Host > 3*2*mib || report.LayoutChanges == 0 || len(between.used) != 2 {
				t.Errorf("%+v, by path %v", report, between.used)
			}
		})
	}
}

// A port that is lost under a command leaves its fate open. The blocks are fenced,
// whatever other path there is, and the source is what it was.
func TestPortLostUnderACommand(t *testing.T) {
	const size = 16 * mib
	u := units(t, bios, 24*mib)
	vm.Group(t, "vg", u[0].top, u[1].top)
	src, dst := vm.Volume(t, "vg", "from", size, u[0].top), vm.Volume(t, "vg", "to", size, u[1].top)
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)
	between := &onlooker{under: func(n int) {
		if n == 3 {
			lose(t, 0)
		}
	}}
	report, err := copying.Way{Between: between.in}.Copy(src, dst, dispatch.Options{Window: 2 * mib})
	if !errors.Is(err, failure.ErrFenced) || report == nil || report.Offloaded == 0 || report.Offloaded+report.Host >= size {
		t.Errorf("%v: %+v", err, report)
	}
	t.Logf("%v: %+v", err, report)
	vm.CheckStamp(t, src, 1, 0, 0, size)
}
