// Package anchor proves on a real kernel that a hold holds: while it is on, no
// table below the destination can be swapped, and when it is gone everybody
// passes.
package anchor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var leaf = vm.Disk{Serial: "leaf", Size: 256 << 20, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{Disks: []vm.Disk{leaf}, Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"}})
}

// linear makes a dm-linear device and removes it with the test.
func linear(t *testing.T, name, lower string, start, sectors int64) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(vm.Linear(t, name, lower, start*remap.SectorSize, sectors*remap.SectorSize))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func devOf(t *testing.T, path string) remap.Dev {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return remap.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
}

// stack makes top on middle on the leaf, and a holder for top.
func stack(t *testing.T) (*hold.Holder, hold.Request) {
	t.Helper()
	h, req := stackAt(t, 2048, "top", "middle")
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h, req
}

// stackAt leaves it to the caller to close the holder.
func stackAt(t *testing.T, start int64, upper, lower string) (*hold.Holder, hold.Request) {
	t.Helper()
	disk := vm.Device(t, leaf)
	middle := linear(t, lower, disk, start, 65536)
	top := linear(t, upper, middle, 128, 32768)
	return hold.NewHolder(hold.Auto, top, devOf(t, top), nil), hold.Request{
		Chains: []hold.Chain{{Start: 64, Len: 4096, Nodes: []remap.Dev{devOf(t, top), devOf(t, middle)}, Leaf: devOf(t, disk)}},
		// Generous, because software emulation is slow: it bounds a wait, it is no measure.
		Deadline: 2 * time.Second,
	}
}

// begin starts a command that is expected to wait.
func begin(t *testing.T, name string, args ...string) <-chan error {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended
}

// waits fails the test if the command ends within a while.
func waits(t *testing.T, ended <-chan error, what string) {
	t.Helper()
	select {
	case err := <-ended:
		t.Fatalf("%s did not wait for the hold (%v)", what, err)
	case <-time.After(1500 * time.Millisecond):
	}
}

// patience bounds a wait; it is no measure. Guests without KVM can be slow.
const patience = time.Minute

func ends(t *testing.T, ended <-chan error, what string) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s still waits", what)
	}
}

func TestSuspendWaitsForRelease(t *testing.T) {
	for _, node := range []string{"top", "middle"} {
		for _, flags := range [][]string{nil, {"--noflush"}, {"--nolockfs"}} {
			t.Run(fmt.Sprint(node, flags), func(t *testing.T) {
				h, req := stack(t)
				held, err := h.Hold(context.Background(), req)
				if err != nil {
					t.Fatal(err)
				}
				suspend := begin(t, "dmsetup", append([]string{"suspend", node}, flags...)...)
				waits(t, suspend, "suspend")
				if err := held.Check(); err != nil {
					t.Errorf("check with a waiter: %v", err)
				}
				if err := held.Release(); err != nil {
					t.Errorf("release: %v", err)
				}
				ends(t, suspend, "suspend")
				vm.Run(t, "dmsetup", "resume", node)
			})
		}
	}
}

// TestTwoAnchors: copies of one process do not get into each other's way.
func TestTwoAnchors(t *testing.T) {
	names := []string{"top", "other"}
	var holders []*hold.Holder
	var letGo []func()
	var suspends []<-chan error
	for i, name := range names {
		h, req := stackAt(t, 2048+int64(i)*65536, name, name+"-lower")
		held, err := h.Hold(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		holders, letGo = append(holders, h), append(letGo, keep(t, held))
	}
	for _, name := range names {
		suspends = append(suspends, begin(t, "dmsetup", "suspend", name))
	}
	for i, name := range names {
		for _, suspend := range suspends[i:] {
			waits(t, suspend, "suspend")
		}
		letGo[i]()
		if err := holders[i].Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ends(t, suspends[i], "suspend")
		vm.Run(t, "dmsetup", "resume", name)
	}
}

func TestSuspendedDeviceIsContended(t *testing.T) {
	h, req := stack(t)
	if err := h.Ready(); err != nil {
		t.Fatal(err)
	}
	vm.Run(t, "dmsetup", "suspend", "middle")
	_, err := h.Hold(context.Background(), req)
	vm.Run(t, "dmsetup", "resume", "middle")
	if !errors.Is(err, hold.ErrContended) {
		t.Fatalf("hold on a suspended device: %v, want ErrContended", err)
	}
	held, err := h.Hold(context.Background(), req)
	if err != nil {
		t.Fatalf("hold after the resume: %v", err)
	}
	if err := errors.Join(held.Check(), held.Release()); err != nil {
		t.Error(err)
	}
}

// TestSuspendUnderWay: who comes after somebody who suspends is queued and holds nothing, however many reads of others are
// in flight at each device. Until the suspend is under way a hold is right.
func TestSuspendUnderWay(t *testing.T) {
	first, req := stack(t)
	top, err := filepath.EvalSymlinks("/dev/mapper/top")
	if err != nil {
		t.Fatal(err)
	}
	second := hold.NewHolder(hold.Auto, top, devOf(t, top), nil)
	t.Cleanup(func() {
		if err := second.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	// Its first hold measures what a read takes, and would hang in that: later ones have to be proven.
	early, err := second.Hold(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := early.Release(); err != nil {
		t.Fatal(err)
	}
	held, err := first.Hold(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	letGo := keep(t, held)
	suspend := begin(t, "dmsetup", "suspend", "middle")
	t.Cleanup(func() {
		letGo()
		ends(t, suspend, "suspend")
		vm.Run(t, "dmsetup", "resume", "middle")
	})
	vm.Eventually(t, "a hold that is refused", func() error {
		late, err := second.Hold(context.Background(), req)
		switch {
		case errors.Is(err, hold.ErrContended):
			return nil
		case err != nil:
			t.Fatal(err)
		case len(suspend) > 0:
			t.Fatal("suspend did not wait for the hold")
		}
		if err := late.Release(); err != nil {
			t.Fatalf("release: %v", err)
		}
		return errors.New("there is one")
	})
}

// keep extends a hold until it is let go of, at the latest when the test ends.
func keep(t *testing.T, held hold.Held) (letGo func()) {
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for {
			select {
			case <-over:
				ended <- errors.Join(err, held.Check(), held.Release())
				return
			case <-time.After(100 * time.Millisecond):
				err = errors.Join(err, held.Extend())
			}
		}
	}()
	letGo = sync.OnceFunc(func() {
		close(over)
		if err := <-ended; err != nil {
			t.Errorf("first hold: %v", err)
		}
	})
	t.Cleanup(letGo)
	return letGo
}

// TestExtension: a hold lasts for several expiries if it is extended.
func TestExtension(t *testing.T) {
	h, req := stack(t)
	held, err := h.Hold(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for time.Since(began) < 12*time.Second {
		time.Sleep(time.Second)
		if err := held.Extend(); err != nil {
			t.Fatalf("extend after %v: %v", time.Since(began), err)
		}
	}
	if err := held.Check(); err != nil {
		t.Fatalf("an extended hold ended: %v", err)
	}
	letGo := keep(t, held)
	suspend := begin(t, "dmsetup", "suspend", "top")
	waits(t, suspend, "suspend")
	letGo()
	ends(t, suspend, "suspend")
	vm.Run(t, "dmsetup", "resume", "top")
}

// TestExpiry: if nobody extends a hold, the throttle lets its reads go by itself.
func TestExpiry(t *testing.T) {
	h, req := stack(t)
	held, err := h.Hold(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	suspend := begin(t, "dmsetup", "suspend", "top")
	waits(t, suspend, "suspend")
	ends(t, suspend, "suspend after the expiry")
	if err := held.Check(); !errors.Is(err, hold.ErrLost) {
		t.Errorf("check after the expiry: %v, want ErrLost", err)
	}
	vm.Run(t, "dmsetup", "resume", "top")
	if err := held.Release(); err != nil {
		t.Errorf("release: %v", err)
	}
}

// TestLongHold: a hold lasts as long as it is extended, also while somebody waits for its release.
func TestLongHold(t *testing.T) {
	h, req := stack(t)
	held, err := h.Hold(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	letGo := keep(t, held)
	time.Sleep(20 * time.Second)
	suspend := begin(t, "dmsetup", "suspend", "middle")
	defer func() {
		ends(t, suspend, "suspend")
		vm.Run(t, "dmsetup", "resume", "middle")
	}()
	select {
	case err := <-suspend:
		t.Fatalf("suspend did not wait for the hold: %v", err)
	case <-time.After(45 * time.Second):
	}
	if left := held.Deadline().Sub(boottime.Now()); left <= 0 || left > 20*time.Second {
		t.Errorf("it is said to hold for another %v", left)
	}
	letGo()
}

// eight makes eight devices on the disk, and one of stripes on them.
func eight(t *testing.T) (top string, lowers []string) {
	t.Helper()
	disk := vm.Device(t, leaf)
	line := "0 65536 striped 8 16"
	for i := range 8 {
		lowers = append(lowers, linear(t, fmt.Sprintf("lower%d", i), disk, 200000+int64(i)*8192, 8192))
		line += " " + lowers[i] + " 0"
	}
	return vm.Mapped(t, "striped", line), lowers
}

// TestManyDevicesOverOneDisk: the read of each lasts as if it were alone.
func TestManyDevicesOverOneDisk(t *testing.T) {
	top, lowers := eight(t)
	if top, err := filepath.EvalSymlinks(top); err == nil {
		h := hold.NewHolder(hold.Auto, top, devOf(t, top), nil)
		req := hold.Request{Deadline: 2 * time.Second}
		for i, lower := range lowers {
			req.Chains = append(req.Chains, hold.Chain{Start: remap.Sector(16 * i), Len: 16, Nodes: []remap.Dev{devOf(t, top), devOf(t, lower)}, Leaf: devOf(t, vm.Device(t, leaf))})
		}
		held, err := h.Hold(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		suspend := begin(t, "dmsetup", "suspend", "lower3")
		for held.Deadline().Sub(boottime.Now()) > 200*time.Millisecond {
			time.Sleep(50 * time.Millisecond)
			if len(suspend) > 0 {
				t.Fatal("suspend did not wait")
			}
		}
		// Whether it is too late to ask says the deadline, not the clock of a busy machine.
		if err := held.Check(); err != nil && boottime.Now() < held.Deadline() {
			t.Error(err)
		}
		if err := held.Release(); err != nil {
			t.Error(err)
		}
		ends(t, suspend, "suspend")
		vm.Run(t, "dmsetup", "resume", "lower3")
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	} else {
		t.Fatal(err)
	}
	offloaded(t, top)
}

// TestSlowDestination: slow is not contended.
func TestSlowDestination(t *testing.T) {
	lower := linear(t, "slow-lower", vm.Device(t, leaf), 200000, 65536)
	slow := vm.Mapped(t, "slow", "0 65536 delay "+lower+" 0 1500")
	t.Cleanup(func() { vm.Reload(t, slow, "0 65536 linear "+lower+" 0") }) // whoever reads it is through soon
	offloaded(t, slow)
}

// offloaded copies to a device of which everything has to be offloaded.
func offloaded(t *testing.T, dst string) {
	t.Helper()
	const bytes = 1 << 20
	src := linear(t, "source", vm.Device(t, leaf), 2048, 65536)
	vm.Stamp(t, src, 7, 0, bytes)
	out := vm.Run(t, "dmcopy", "copy", "--offload=require", "--json", fmt.Sprintf("--range=0:0:%d", bytes), src, dst)
	t.Logf("%s", out)
	vm.CheckStamp(t, dst, 7, 0, 0, bytes)
}

func TestManyWindows(t *testing.T) {
	h, req := stack(t)
	began := time.Now()
	const windows = 50
	for range windows {
		held, err := h.Hold(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(held.Check(), held.Release()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d windows, %v each", windows, time.Since(began)/windows)
}

// TestManyLongWindows holds for longer than one expiry in sum: what the throttle
// credits for one window must not end the next ones early.
func TestManyLongWindows(t *testing.T) {
	h, req := stack(t)
	for i := range 24 {
		held, err := h.Hold(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if err := errors.Join(held.Check(), held.Release()); err != nil {
			t.Fatalf("window %d: %v", i, err)
		}
	}
}

// TestNothingIsLeft comes last.
func TestNothingIsLeft(t *testing.T) {
	if left, _ := filepath.Glob("/sys/fs/cgroup/dmcopy-anchor-*"); len(left) > 0 {
		t.Errorf("cgroups left: %v", left)
	}
	control, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control")
	if err != nil {
		t.Fatal(err)
	}
	if len(control) > 1 {
		t.Errorf("subtree_control left as %q", control)
	}
}
