package fabrics

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

const copySize = 48 * mib

// sides makes a source and a destination on a namespace, with a stranger behind.
func sides(t *testing.T, device string) (src, dst, stranger string) {
	t.Helper()
	for i, name := range []string{"src", "dst", "stranger"} {
		vm.Stamp(t, vm.Linear(t, name, device, mib+int64(i)*copySize, copySize), uint64(1+i), 0, copySize)
	}
	vm.Settle(t)
	return "/dev/mapper/src", "/dev/mapper/dst", "/dev/mapper/stranger"
}

// checkOthers demands that nothing but the destination has changed.
func checkOthers(t *testing.T, src, stranger string) {
	t.Helper()
	vm.CheckStamp(t, src, 1, 0, 0, copySize)
	vm.CheckStamp(t, stranger, 3, 0, 0, copySize)
}

// held makes the disk hold back the writing half of the next Copy.
func held(t *testing.T, disk vm.Disk) (release func()) {
	t.Helper()
	letGo, err := vm.Hold(disk, "write")
	if err != nil {
		t.Fatal(err)
	}
	once := false
	release = func() {
		if once {
			return
		}
		once = true
		if err := letGo(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		release()
		if err := vm.SetFaults(disk); err != nil {
			t.Error(err)
		}
	})
	return release
}

// inFlight waits until one of the controllers has a passthrough command that
// sends data, and names it. Those are the paths of a head.
func inFlight(t *testing.T, controllers []string) (busy string) {
	t.Helper()
	vm.Eventually(t, "a Copy in flight", func() error {
		for _, name := range controllers {
			lists, err := filepath.Glob("/sys/kernel/debug/block/nvme*c" + strings.TrimPrefix(name, "nvme") + "n1/hctx*/busy")
			if err != nil {
				t.Fatal(err)
			}
			for _, list := range lists {
				text, err := os.ReadFile(list)
				if err != nil {
					return err
				}
				if strings.Contains(string(text), "DRV_OUT") {
					busy = name
					return nil
				}
			}
		}
		return fmt.Errorf("none on %q", controllers)
	})
	return busy
}

// attribute of a controller, "" once it is gone.
func attribute(controller, name string) string {
	text, err := os.ReadFile(filepath.Join("/sys/class/nvme", controller, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// awaitPaths waits until just these controllers lead to a head.
func awaitPaths(t *testing.T, device string, want int) (controllers []string) {
	t.Helper()
	vm.Eventually(t, "paths of "+device, func() (err error) {
		controllers, err = nvme.Controllers(filepath.Base(device))
		if err == nil && len(controllers) != want {
			err = fmt.Errorf("%q, want %d", controllers, want)
		}
		return err
	})
	return controllers
}

// leaves copies between the sides while a path is taken away in good order that has
// a command in flight. The kernel waits for the command, sends the next ones over the
// other path, and the copy does not notice.
func leaves(t *testing.T, disk vm.Disk, device string, controllers []string, remove func(t *testing.T, controller string)) {
	src, dst, stranger := sides(t, device)
	release := held(t, disk)
	done := begin("--offload", "require", "--window", "8M", src, dst)
	gone := inFlight(t, controllers)
	remove(t, gone)
	vm.Eventually(t, gone+" on its way out", func() error {
		if state := attribute(gone, "state"); !strings.HasPrefix(state, "deleting") {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	select {
	case e := <-done:
		t.Fatalf("ended while its command was held: %+v", e)
	default:
	}
	release()
	e := <-done
	t.Logf("%s left: exit code %d, %d bytes in %d commands, %d of them redone %s", gone, e.code, e.report.Offloaded, e.report.Commands, e.report.Redone, e.stderr)
	if e.err != nil || e.code != 0 || e.report.Offloaded != copySize {
		t.Errorf("exit code %d, %v: %+v", e.code, e.err, e.report)
	}
	if left := awaitPaths(t, device, len(controllers)-1); slices.Contains(left, gone) {
		t.Errorf("%q lead to %s", left, device)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, copySize)
	checkOthers(t, src, stranger)
}

// TestPathIsUnplugged takes away the controller that executes a copy, and then
// copies again over the one that is left.
func TestPathIsUnplugged(t *testing.T) {
	device := vm.Device(t, dual)
	controllers := awaitPaths(t, device, 2)
	leaves(t, dual, device, controllers, func(t *testing.T, controller string) {
		id := attribute(controller, "cntlid")
		number, err := strconv.Atoi(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := vm.Unplug(dual.Serial + "-c" + id); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := vm.PlugController(dual.Serial, number); err != nil {
				t.Error(err)
			}
			awaitPaths(t, device, 2)
		})
	})
	r := mustCopy(t, "--offload", "require", "/dev/mapper/stranger", "/dev/mapper/dst")
	if r.Offloaded != copySize {
		t.Errorf("%+v", r)
	}
	vm.CheckStamp(t, "/dev/mapper/dst", 3, 0, 0, copySize)
}

// TestPathIsDisconnected does the same to one of two connections to a storage node.
func TestPathIsDisconnected(t *testing.T) {
	device, controllers := passthru(t, node, 2)
	leaves(t, node, device, controllers, func(t *testing.T, controller string) {
		finished := make(chan error, 1)
		go func() {
			_, err := vm.TryRun("nvme", "disconnect", "--device="+controller)
			finished <- err
		}()
		t.Cleanup(func() {
			if err := <-finished; err != nil {
				t.Error(err)
			}
		})
	})
}

// TestPathIsLost: the storage node ends a connection over which a Copy is under way.
// Nobody knows what becomes of the command, and here it is executed later. So the
// copy ends and says which bytes may still change; the host keeps away from them.
func TestPathIsLost(t *testing.T) {
	device, controllers := passthru(t, node, 2)
	src, dst, stranger := sides(t, device)
	release := held(t, node)
	done := begin("--window", "8M", src, dst)
	lost := inFlight(t, controllers)
	vm.LosePath(t, lost)
	e := <-done
	t.Logf("%s was lost: exit code %d: %s", lost, e.code, e.stderr)
	if e.code != 1 || !strings.Contains(e.stderr, "sectors at sector") || e.report.Result != account.OutcomeFailed {
		t.Errorf("exit code %d, %v: %+v", e.code, e.err, e.report)
	}
	// Before and after the command lands, the bytes are those of before or of the copy.
	vm.CheckStamp(t, dst, 2, 0, 0, copySize)
	release()
	const proof = 128 << 10 // the first command of a copy
	vm.Eventually(t, "the command lands", func() error { return vm.TryStamp(dst, 1, 0, 0, proof) })
	vm.CheckStamp(t, dst, 2, proof, proof, copySize-proof)
	checkOthers(t, src, stranger)
	// What is left of the paths serves the next copy.
	if r := mustCopy(t, "--offload", "require", src, dst); r.Offloaded != copySize {
		t.Errorf("%+v", r)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, copySize)
	checkOthers(t, src, stranger)
}
