package resume

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/vm"
)

var (
	seed   = flag.Uint64("seed", 1, "of the moments at which copies are killed")
	trials = flag.Int("trials", 3, "copies of each kind")
)

const size = 48 * mib

// TestKill kills copies with SIGKILL, several times each, and has them go on. In
// the end every byte is there, nothing around the destination was touched, and
// only what was not recorded was copied again.
func TestKill(t *testing.T) {
	disk := vm.Device(t, leaf)
	vm.Group(t, "vg", disk)
	for _, lv := range []string{"src", "before", "dst", "after"} {
		vm.Volume(t, "vg", lv, size)
	}
	vm.Stamp(t, "/dev/vg/src", 1, 0, size)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(*seed, 0))
	for _, c := range []struct{ name, dst string }{{"offloaded", "/dev/vg/dst"}, {"host", vm.Device(t, plain)}, {"file", file}} {
		t.Run(c.name, func(t *testing.T) {
			for trial := range *trials {
				for i, lv := range []string{"/dev/vg/before", "/dev/vg/dst", "/dev/vg/after"} {
					vm.Stamp(t, lv, uint64(10+i), 0, size)
				}
				kill(t, newJob(t, "/dev/vg/src", c.dst, size, "--rate", "16M"), random)
				for i, lv := range []string{"/dev/vg/before", "", "/dev/vg/after"} {
					if lv != "" {
						vm.CheckStamp(t, lv, uint64(10+i), 0, 0, size)
					}
				}
				if t.Failed() {
					t.Fatalf("trial %d with -seed=%d", trial, *seed)
				}
			}
		})
	}
}

// kill begins a copy, and kills it until most of it is done; then it may end.
func kill(t *testing.T, j *job, random *rand.Rand) {
	kills := 0
	for before := int64(0); before < size*3/4; kills++ {
		cmd := j.command()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Each of them gets further than the one before.
		vm.Eventually(t, "progress", func() error {
			if done := j.done(t); done <= before {
				return fmt.Errorf("%d bytes are done", done)
			}
			return nil
		})
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		before = j.done(t)
		check(t, j)
	}
	t.Logf("killed %d times", kills)
	j.complete(t)
}

// check compares what is said to be done.
func check(t *testing.T, j *job) {
	t.Helper()
	for _, e := range j.read(t).Map.Extents() {
		if e.Status != journal.Done {
			t.Errorf("%+v", e)
		}
		if err := vm.Compare(j.src, e.Off, j.dst, e.Off, e.Len); err != nil {
			t.Errorf("said to be done: %v", err)
		}
	}
}

// TestKilledInCommand: as long as a command of a copy that was killed is under
// way, nobody goes on with it.
func TestKilledInCommand(t *testing.T) {
	disk := vm.Device(t, leaf)
	src, dst := vm.Linear(t, "src", disk, 0, size), vm.Linear(t, "dst", disk, size, size)
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	j := newJob(t, src, dst, size, "--offload", "require")
	release := held(t)
	cmd := j.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		cmd.Wait()
	}()
	vm.Eventually(t, "a Copy in flight", inFlight)
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The destination is claimed as well; resume looks at the state first.
	if _, says, code := j.end(t); code != 6 {
		t.Errorf("exit code %d: %s", code, says)
	}
	says, err := exec.Command("dmcopy", "resume", j.state).CombinedOutput()
	if err == nil || !strings.Contains(string(says), "in use by a copy that goes on") {
		t.Errorf("%v: %s", err, says)
	}
	release()
	<-over
	j.complete(t)
}

// held makes the disk hold back the writing half of the next Copy.
func held(t *testing.T) (release func()) {
	t.Helper()
	letGo, err := vm.Hold(leaf, "write")
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := errors.Join(letGo(), vm.SetFaults(leaf)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return release
}

// inFlight tells whether a disk has a passthrough command that sends data.
func inFlight() error {
	lists, err := filepath.Glob("/sys/kernel/debug/block/nvme*/hctx*/busy")
	if err != nil {
		return err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err == nil && strings.Contains(string(text), "DRV_OUT") {
			return nil
		}
	}
	return fmt.Errorf("none in %d queues", len(lists))
}
