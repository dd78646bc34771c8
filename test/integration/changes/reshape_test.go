package changes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

// raidSize is that of a raid5 of two stripes before it gets a third.
const raidSize = 32 * mib

// growing makes a raid5 in a volume group of its own, with a target beside it, and returns
// what begins a reshape that takes its time.
func growing(t *testing.T) (path, target string, reshape func()) {
	t.Helper()
	d := newDisk(t)
	d.part("head", mib) // a volume that begins with the disk looks like two
	var members []string
	for i := range 5 {
		members = append(members, d.part(fmt.Sprint("pv", i), 48*mib))
		clean(t, members[i])
	}
	target = d.part("target", raidSize)
	vm.GroupOf(t, "grow", "1m", members[:4]...)
	vm.VolumeOf(t, "grow", "r", "--type", "raid5", "-i", "2", "-L", "32m")
	path = "/dev/mapper/grow-r"
	vm.Eventually(t, "sync of the array", func() error {
		if words := strings.Join(vm.Status(t, path), " "); !strings.Contains(words, " AAA ") || !strings.Contains(words, " idle ") {
			return errors.New(words)
		}
		return nil
	})
	vm.Stamp(t, path, 1, 0, raidSize)
	vm.Stamp(t, target, 2, 0, raidSize)
	vm.Run(t, "lvchange", "-y", "--minrecoveryrate", "64", "--maxrecoveryrate", "128", "grow/r")
	return path, target, func() {
		vm.Run(t, "lvconvert", "-y", "--stripes", "3", "grow/r")
		table, size := tableEnd(t, path), deviceSize(t, path)
		t.Logf("the table has %d sectors, the device %d, status %q", table, size, vm.Status(t, path))
		if table <= size || !strings.Contains(strings.Join(vm.Status(t, path), " "), "reshape") {
			t.Fatal("no reshape that adds members is under way: the test shows nothing")
		}
	}
}

func tableEnd(t *testing.T, path string) (end int64) {
	t.Helper()
	words := strings.Fields(vm.Run(t, "dmsetup", "table", path))
	if _, err := fmt.Sscan(words[1], &end); err != nil {
		t.Fatal(err)
	}
	return end
}

func deviceSize(t *testing.T, path string) (size int64) {
	t.Helper()
	if _, err := fmt.Sscan(vm.Run(t, "blockdev", "--getsz", path), &size); err != nil {
		t.Fatal(err)
	}
	return size
}

// TestGrowingReshape: while an array gets a stripe it is copied through the kernel, and the
// machine is seen.
func TestGrowingReshape(t *testing.T) {
	path, target, reshape := growing(t)
	reshape()
	for _, args := range [][]string{{"tree"}, {"capture"}, {"domains"}, {"plan", path, target}} {
		says, err := vm.TryRun("dmcopy", args...)
		if err != nil || args[0] == "tree" && !strings.Contains(says, "layer:raid-reshape") {
			t.Errorf("%v: %v\n%s", args, err, says)
		}
	}
	for _, opts := range []dispatch.Options{{}, {Offload: plan.OffloadNever}} {
		vm.Stamp(t, target, 2, 0, raidSize)
		report, err := copyAll(t, path, target, opts)
		if err != nil || report.Host != raidSize {
			t.Fatalf("%v, %+v", err, report)
		}
		vm.CheckStamp(t, target, 1, 0, 0, raidSize)
	}
	vm.Stamp(t, target, 3, 0, raidSize)
	if report, err := copyAll(t, target, path, dispatch.Options{}); err != nil || report.Host != raidSize {
		t.Fatalf("onto it: %v, %+v", err, report)
	}
	vm.CheckStamp(t, path, 3, 0, 0, raidSize)
	if table, size := tableEnd(t, path), deviceSize(t, path); table <= size {
		t.Errorf("the reshape was over before the copies: %d sectors in the table and %d of the device", table, size)
	}
}

// TestReshapeMeetsCopy: a copy that is under way when it begins goes on.
func TestReshapeMeetsCopy(t *testing.T) {
	path, target, reshape := growing(t)
	begun := make(chan struct{})
	started := false
	ended := make(chan struct{})
	var report *account.Report
	var err error
	go func() {
		defer close(ended)
		report, err = copying.Copy(path, target, dispatch.Options{
			Window: mib, Pacing: dispatch.Pacing{Rate: func() int64 { return 2 * mib }},
			Progress: func(p account.Progress) {
				if p.Done > 2*mib && !started {
					started = true
					close(begun)
				}
			},
		})
	}()
	select {
	case <-begun:
	case <-ended:
		t.Fatalf("it ended too early: %v, %+v", err, report)
	}
	reshape()
	<-ended
	t.Logf("%+v", report)
	if err != nil || report.LayoutChanges == 0 || report.Host == 0 {
		t.Fatalf("%v, %+v", err, report)
	}
	vm.CheckStamp(t, target, 1, 0, 0, raidSize)
}
