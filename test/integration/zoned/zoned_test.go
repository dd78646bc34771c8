package zoned

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestWithinNamespace copies zones to others of the namespace, whole and begun, and goes
// on where the last copy has ended. Nothing passes the host.
func TestWithinNamespace(t *testing.T) {
	disk := blank(t, whole)
	const size = 5 * zone
	vm.Stamp(t, disk, 1, 0, size)
	mustCopy(t, size, 0, nil, "--offload", "require", "--verify", "full", "--range", run(0, 10*zone, size), disk, disk)
	vm.CheckStamp(t, disk, 1, 10*zone, 0, size)

	// A part of a zone, and what follows it in a second copy: no kernel knows its pointer.
	mustCopy(t, mib, 0, nil, "--offload", "require", "--range", run(mib/2, 20*zone, mib), disk, disk)
	if at := pointer(t, disk, 20*zone); at != mib {
		t.Errorf("written up to %d", at)
	}
	mustCopy(t, 0, 2*mib, []remap.Reason{"zone:order"}, "--range", run(mib/2+mib, 20*zone+mib, 2*mib), disk, disk)
	vm.CheckStamp(t, disk, 1, 20*zone, mib/2, 3*mib)
	// The host goes on in a zone that the disk has written.
	vm.Stamp(t, disk, 2, 20*zone+3*mib, mib)
	vm.CheckStamp(t, disk, 2, 20*zone+3*mib, 20*zone+3*mib, mib)
	vm.CheckStamp(t, disk, 1, 0, 0, size)
}

// TestThroughTheHost: the host, too, writes zones in order.
func TestThroughTheHost(t *testing.T) {
	disk := blank(t, whole)
	other := vm.Device(t, plain)
	const size = 5 * zone
	vm.Stamp(t, other, 1, 0, size)
	mustCopy(t, 0, size, []remap.Reason{"domain:zoned"}, "--verify", "full", "--range", run(0, 0, size), other, disk)
	vm.CheckStamp(t, disk, 1, 0, 0, size)
	mustCopy(t, 0, size, []remap.Reason{"policy:never"}, "--offload", "never", "--sparse", "--range", run(0, 8*zone, size), disk, disk)
	vm.CheckStamp(t, disk, 1, 8*zone, 0, size)
	// And back to a disk without zones.
	mustCopy(t, 0, size, []remap.Reason{"domain:zoned"}, "--range", run(8*zone, 6*zone, size), disk, other)
	vm.CheckStamp(t, other, 1, 6*zone, 0, size)
}

// TestUnwritten: what lies above the write pointer of the source is read by the host.
func TestUnwritten(t *testing.T) {
	disk := blank(t, whole)
	const half = zone/2 + 4096
	vm.Stamp(t, disk, 1, 0, zone+half)
	mustCopy(t, zone+half, zone-half, []remap.Reason{"zone:unwritten"}, "--verify", "full", "--range", run(0, 10*zone, 2*zone), disk, disk)
	vm.CheckStamp(t, disk, 1, 10*zone, 0, zone+half)
	vm.Run(t, "cmp", "-n", fmt.Sprint(zone-half), "-i", fmt.Sprintf("0:%d", 10*zone+zone+half), "/dev/zero", disk)
	if at := pointer(t, disk, 11*zone); at != zone {
		t.Errorf("written up to %d", at)
	}
}

// TestBegunZone: a zone that was begun by the host is gone on with by the host, because the
// kernel has its pointer; the next ones are left to the disk.
func TestBegunZone(t *testing.T) {
	disk := blank(t, whole)
	vm.Stamp(t, disk, 1, 0, 3*zone)
	vm.Stamp(t, disk, 2, 10*zone, mib)
	mustCopy(t, zone, 3*mib, []remap.Reason{"zone:order"}, "--range", run(0, 10*zone+mib, zone-mib+zone), disk, disk)
	vm.CheckStamp(t, disk, 2, 10*zone, 10*zone, mib)
	vm.CheckStamp(t, disk, 1, 10*zone+mib, 0, 2*zone-mib)
}

// TestGaps: zones with a gap behind them, on a disk with large blocks, below mapped devices.
func TestGaps(t *testing.T) {
	disk := blank(t, gaps)
	for z := range int64(3) {
		vm.Stamp(t, disk, 1, z*zone, gapped)
	}
	src, dst := vm.Linear(t, "src", disk, 0, 3*zone), vm.Linear(t, "dst", disk, 8*zone, 3*zone)
	if _, stderr, code := copyTo(t, src, dst); code != 6 || !strings.Contains(stderr, "up to the next zone") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	mustCopy(t, 3*gapped, 0, nil, "--offload", "require", "--verify", "full", "--range", run(0, 0, gapped),
		"--range", run(zone, zone, gapped), "--range", run(2*zone, 2*zone, gapped), src, dst)
	for z := range int64(3) {
		vm.CheckStamp(t, disk, 1, (8+z)*zone, z*zone, gapped)
		if at := pointer(t, disk, (8+z)*zone); at != gapped {
			t.Errorf("written up to %d", at)
		}
	}
}

// TestRefused: what a zone would not take is refused before anything is written.
func TestRefused(t *testing.T) {
	disk := blank(t, whole)
	vm.Stamp(t, disk, 1, 0, 2*zone+mib)
	for name, c := range map[string]struct {
		r    string
		says string
	}{
		"behind the pointer": {run(0, 10*zone+4096, mib), fmt.Sprintf("nothing except at byte %d", 10*zone)},
		"before the pointer": {run(0, 2*zone, mib/2), fmt.Sprintf("nothing except at byte %d", 2*zone+mib)},
		"full":               {run(mib, 0, mib/2), "reset the zone"},
		"twice":              {run(0, 10*zone, mib) + " " + run(0, 10*zone+2*mib, mib), "nothing except at"},
	} {
		var args []string
		for _, r := range strings.Fields(c.r) {
			args = append(args, "--range", r)
		}
		_, stderr, code := copyTo(t, append(args, disk, disk)...)
		if code != 6 || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
	if at := pointer(t, disk, 10*zone); at != 0 {
		t.Errorf("written up to %d", at)
	}
	vm.CheckStamp(t, disk, 1, 0, 0, 2*zone+mib)
}

// fail makes the disk fail once, at a sector.
func fail(t *testing.T, op string, sector int64) {
	t.Helper()
	if err := vm.SetFaults(whole, vm.Fault{IOType: op, Sector: sector, Once: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.SetFaults(whole); err != nil {
			t.Error(err)
		}
	})
}

// TestReadFails: a command fails in the middle of a zone. The write pointer tells how far
// it came, and the host goes on from there.
func TestReadFails(t *testing.T) {
	disk := blank(t, whole)
	const size = 3 * zone
	vm.Stamp(t, disk, 1, 0, size)
	fail(t, "read", (zone+zone/2)/512+100)
	r, _, code := copyTo(t, "--verify", "full", "--range", run(0, 10*zone, size), disk, disk)
	if code != 0 || r.Fallbacks == 0 || r.Offloaded == 0 || r.Host == 0 || r.Offloaded+r.Host != size {
		t.Errorf("%+v", r)
	}
	vm.CheckStamp(t, disk, 1, 10*zone, 0, size)
}

// TestWriteFails: after a write that fails, QEMU takes nothing more in the zone where its
// pointer is said to be, until it is reset. So the copy ends, and what is below the pointers
// is right; a zone that was begun is refused until it is reset.
func TestWriteFails(t *testing.T) {
	disk := blank(t, whole)
	const size, at = 3 * zone, 10 * zone
	vm.Stamp(t, disk, 1, 0, size)
	vm.Stamp(t, disk, 2, 20*zone, mib)
	fail(t, "write", (at+zone+zone/2)/512+100)
	r, stderr, code := copyTo(t, "--range", run(0, at, size), disk, disk)
	if code != 1 || !strings.Contains(stderr, "write /dev/") || r.Offloaded == 0 || r.Offloaded+r.Host >= size {
		t.Errorf("exit code %d: %s: %+v", code, stderr, r)
	}
	for z := int64(0); z < size; z += zone {
		n := pointer(t, disk, at+z)
		t.Logf("zone at byte %d: written up to %d", at+z, n)
		vm.CheckStamp(t, disk, 1, at+z, z, n)
	}
	if _, _, code := copyTo(t, "--range", run(0, at, size), disk, disk); code != 6 {
		t.Errorf("exit code %d", code)
	}
	vm.Run(t, "blkzone", "reset", "-o", fmt.Sprint(at/512), "-l", fmt.Sprint(size/512), disk)
	mustCopy(t, size, 0, nil, "--range", run(0, at, size), disk, disk)
	vm.CheckStamp(t, disk, 1, at, 0, size)
	vm.CheckStamp(t, disk, 2, 20*zone, 20*zone, mib)
}

// TestTooManyZones: a disk that cannot begin one more zone ends the copy with an error, and
// nothing is said to be copied that is not.
func TestTooManyZones(t *testing.T) {
	disk := blank(t, whole)
	vm.Stamp(t, disk, 1, 0, zone)
	for z := range int64(6) {
		vm.Stamp(t, disk, 2, (20+z)*zone, 4096)
	}
	r, stderr, code := copyTo(t, "--range", run(0, 10*zone, zone), disk, disk)
	if code != 1 || r.Offloaded+r.Host != 0 {
		t.Errorf("exit code %d: %s: %+v", code, stderr, r)
	}
	if at := pointer(t, disk, 10*zone); at != 0 {
		t.Errorf("written up to %d", at)
	}
}

// TestKilled: a copy that is killed in the middle of a zone goes on from the write pointer,
// wherever that is.
func TestKilled(t *testing.T) {
	disk := blank(t, whole)
	const size = 4 * zone
	vm.Stamp(t, disk, 1, 0, size)
	if err := vm.Throttle(whole, 4*mib, 0); err != nil {
		t.Fatal(err)
	}
	unthrottled := func() {
		if err := vm.Throttle(whole, 0, 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(unthrottled)
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command("dmcopy", "copy", "--state", state, "--window", "1M", "--range", run(0, 10*zone, size), disk, disk)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	vm.Eventually(t, "a copy in the second zone", func() error {
		if at := pointer(t, disk, 11*zone); at == 0 {
			return errors.New("it was not begun")
		}
		return nil
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the copy ended before it was killed")
	}
	unthrottled()
	vm.Eventually(t, "commands that are still under way", func() error {
		busy, err := vm.TryRun("sh", "-c", "cat /sys/kernel/debug/block/nvme*/hctx*/busy")
		if err == nil && strings.Contains(busy, "DRV_OUT") {
			err = errors.New(busy)
		}
		return err
	})
	t.Logf("killed with %d bytes in the second zone", pointer(t, disk, 11*zone))
	if out, err := vm.TryRun("dmcopy", "resume", "--json", state); err != nil {
		t.Error(err)
	} else {
		t.Log(out)
	}
	vm.CheckStamp(t, disk, 1, 10*zone, 0, size)
}
