package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

func devOf(t *testing.T, path string) remap.Dev {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return remap.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
}

// anchored holds the first sectors of top, which lie on the nodes below it, while
// a command runs that must wait for it.
func anchored(t *testing.T, d *disk, command []string, top string, nodes ...string) {
	t.Helper()
	h := hold.NewHolder(hold.Auto, top, devOf(t, top), nil)
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	chain := hold.Chain{Len: 64, Nodes: []remap.Dev{devOf(t, top)}, Leaf: devOf(t, d.path)}
	for _, n := range nodes {
		chain.Nodes = append(chain.Nodes, devOf(t, n))
	}
	held, err := h.Hold(context.Background(), hold.Request{Chains: []hold.Chain{chain}, Deadline: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	waits(t, held, command[0], command[1:]...)
}

// waits runs a command that must wait until the hold is released.
func waits(t *testing.T, held hold.Held, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Errorf("%v did not wait for the hold (%v)", cmd.Args, err)
		ended <- err
	case <-time.After(1500 * time.Millisecond):
	}
	if err := held.Check(); err != nil {
		t.Errorf("check with a waiter: %v", err)
	}
	if err := held.Release(); err != nil {
		t.Errorf("release: %v", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%v: %v", cmd.Args, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%v still waits", cmd.Args)
	}
}

// TestAnchorOnArray: neither the level of an array nor what it lies on can be
// changed while an anchor is submitted through it. Older kernels do not wait: they
// get no anchor.
func TestAnchorOnArray(t *testing.T) {
	d := newDisk(t)
	a := assemble(d, "raid0", 2, "--chunk=64")
	if vm.Kernel() == vm.KernelOld {
		h := hold.NewHolder(hold.Auto, a.path, devOf(t, a.path), nil)
		chain := hold.Chain{Len: 64, Nodes: []remap.Dev{devOf(t, a.path)}, Leaf: devOf(t, d.path)}
		held, err := h.Hold(context.Background(), hold.Request{Chains: []hold.Chain{chain}, Deadline: 2 * time.Second})
		if !errors.Is(err, hold.ErrUnavailable) {
			t.Errorf("%v, %v, want ErrUnavailable", held, err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	anchored(t, d, []string{"dmsetup", "suspend", "leg0"}, a.path, a.members[0])
	vm.Run(t, "dmsetup", "resume", "leg0")
	anchored(t, d, []string{"sh", "-c", "echo raid5 >/sys/block/md77/md/level"}, a.path, a.members[0])
}

// TestAnchorOnThin: nor can a thin volume or its pool be suspended.
func TestAnchorOnThin(t *testing.T) {
	d := newDisk(t)
	s := thinOf(d, 60)
	for _, node := range []string{"origin", s.pool, "tdata"} {
		vm.Stamp(t, s.origin, 60, 0, mib)
		anchored(t, d, []string{"dmsetup", "suspend", "--noflush", node}, s.origin, "/dev/mapper/"+s.pool, "/dev/mapper/tdata")
		vm.Run(t, "dmsetup", "resume", node)
	}
}

// TestArrayGrows copies to arrays without redundancy while they grow, and while
// somebody tries to stop them.
func TestArrayGrows(t *testing.T) {
	for _, level := range levelsThatGrow() {
		t.Run(level, func(t *testing.T) {
			d := newDisk(t)
			more := d.part("more", memberSize) // first, so that it outlives the array
			clean(t, more)
			a := assemble(d, level, 2)
			src := d.part("src", a.size)
			vm.Stamp(t, src, 70, 0, a.size)
			vm.Slowly(t, alpha, pace)
			begun := make(chan struct{})
			var once sync.Once
			ended := start(t, src, a.path, dispatch.Options{Window: window, Progress: func(p account.Progress) {
				if p.Offloaded > 0 || p.Host > 0 {
					once.Do(func() { close(begun) })
				}
			}})
			<-begun
			if out, err := vm.TryRun("mdadm", "--stop", a.path); err == nil {
				t.Errorf("the destination could be stopped: %s", out)
			}
			args := []string{"--grow", a.path, "--raid-devices=3", "--add", more}
			if level == "linear" {
				args = []string{"--grow", a.path, "--add", more}
			}
			out, err := vm.TryRun("mdadm", args...)
			t.Logf("grow: %s %v", out, err)
			r := <-ended
			report := r.must(t)
			if offloads := vm.Kernel() != vm.KernelOld; level == "raid0" && offloads != (report.Offloaded > 0) {
				t.Errorf("offloads onto arrays: %v: %+v", offloads, report)
			}
			holds(t, a.path, 70, a.size)
			if level == "raid0" {
				// It is raid4 while it grows.
				vm.Eventually(t, "end of the reshape", func() error {
					if p := a.get("reshape_position"); p != "none" {
						return fmt.Errorf("reshape at %s", p)
					}
					return nil
				})
				holds(t, a.path, 70, a.size)
			}
		})
	}
}

// levelsThatGrow are the levels without redundancy that the kernel has.
func levelsThatGrow() []string {
	if vm.Kernel() == vm.KernelOld {
		return []string{"raid0", "linear"}
	}
	return []string{"raid0"}
}
