package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// modes are how a loop device reads and writes its file.
var modes = []string{"--direct-io=off", "--direct-io=on"}

// dirty writes to a device such that the data stay in its page cache.
func dirty(t *testing.T, device string, data []byte, at int64) *os.File {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLoopToFile: the source may move, which would be seen; so its blocks are shared.
// What is in the cache of the loop device, or of its file, is copied.
func TestLoopToFile(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		for _, mode := range modes {
			const size = 12 * mib
			data := content(1, size)
			file := write(t, data, dir, "disk")
			device := loop(t, file, mode, "--offset", "1048576")
			// The file is in the cache, the device is now, and a program has it open.
			changed := content(2, 2*mib)
			f := dirty(t, device, changed, 5*mib)
			copy(data[6*mib:], changed)
			dst := write(t, content(3, size-1*mib), dir, "dst")
			expect(t, run(t, "--live-source", "--verify", "full", device, dst), size-1*mib, 0, "")
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			sameBlocks(t, file, 1*mib, dst, 0, size-1*mib)
			holds(t, dst, data[1*mib:])
			// What is written to the device later is not seen in the copy.
			f = dirty(t, device, content(4, 4*mib), 0)
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			f.Close()
			holds(t, dst, data[1*mib:])
		}
	})
}

// TestOntoLoop: nothing holds a loop device where it is in its file, so that this
// takes the word of the operator. Its cache is right afterwards.
func TestOntoLoop(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		for _, mode := range modes {
			const size = 8 * mib
			data := content(1, size)
			src := loop(t, write(t, data, dir, "src"), mode)
			file := write(t, content(2, size+mib), dir, "dst")
			dst := loop(t, file, mode, "--offset", "65536", "--sizelimit", fmt.Sprint(size))
			expect(t, run(t, src, dst), 0, size, "hold:unavailable")
			holds(t, dst, data)

			dirty(t, dst, content(3, size), 0).Close()
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// Somebody has it all in the cache of the device.
			if _, err := os.ReadFile(dst); err != nil {
				t.Fatal(err)
			}
			expect(t, run(t, "--hold", "trust", "--verify", "full", src, dst), size, 0, "")
			holds(t, dst, data)
			copy(before[64*kib:], data)
			holds(t, file, before)
			sameBlocks(t, filepath.Join(dir, "src"), 0, file, 64*kib, size)

			// From a file as well.
			other := write(t, content(4, size), dir, "other")
			expect(t, run(t, "--hold", "trust", other, dst), size, 0, "")
			holds(t, dst, content(4, size))
		}
	})
}

// TestVolumesOnLoops: logical volumes on a loop device, which is where they end.
func TestVolumesOnLoops(t *testing.T) {
	const size = 16 * mib
	dir := mounted(t, one, sharing["btrfs"]...)
	device := loop(t, truncate(t, 128*mib, dir, "disk"))
	vm.Group(t, "vgloop", device)
	for _, name := range []string{"a", "b"} {
		vm.Volume(t, "vgloop", name, size)
	}
	vm.Stamp(t, "/dev/vgloop/a", 1, 0, size)
	vm.Stamp(t, "/dev/vgloop/b", 2, 0, size)
	vm.Settle(t)
	expect(t, run(t, "/dev/vgloop/a", "/dev/vgloop/b"), 0, size, "hold:unavailable")
	vm.Stamp(t, "/dev/vgloop/b", 2, 0, size)
	expect(t, run(t, "--hold", "trust", "--verify", "full", "/dev/vgloop/a", "/dev/vgloop/b"), size, 0, "")
	vm.CheckStamp(t, "/dev/vgloop/b", 1, 0, 0, size)
	vm.CheckStamp(t, "/dev/vgloop/a", 1, 0, 0, size)
}

// TestLoopsApart: loop devices whose files cannot share blocks, or not where they lie.
func TestLoopsApart(t *testing.T) {
	const size = 4 * mib
	dir, ext4 := mounted(t, one, sharing["btrfs"]...), mounted(t, two, "mkfs.ext4", "-q", "-F")
	data := content(1, size)
	onBtrfs, onExt4 := write(t, data, dir, "src"), write(t, data, ext4, "src")
	gone := loop(t, write(t, data, dir, "gone"))
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ src, reason string }{
		{loop(t, onExt4), "domain:file-system"},
		{loop(t, onBtrfs, "--offset", "512"), "limit:alignment"},
		{gone, "domain:file-unreachable"},
		{loop(t, loop(t, onBtrfs)), "layer:file"},
	} {
		dst := truncate(t, size, dir, "dst")
		r := run(t, c.src, dst)
		if r.Host == 0 || r.Offloaded != 0 || reason(r, c.reason) != r.Total {
			t.Errorf("%s: %+v", c.reason, r)
		}
		holds(t, dst, append(data[size-r.Total:], make([]byte, size-r.Total)...))
	}
}

// TestLoopOfTheFile: a file and the loop device on it are one.
func TestLoopOfTheFile(t *testing.T) {
	dir := mounted(t, one, sharing["btrfs"]...)
	file := write(t, content(1, 4*mib), dir, "disk")
	device := loop(t, file)
	for _, ends := range [][2]string{{file, device}, {device, file}} {
		if _, stderr, code := tryRun(t, "--range", "0:2M:1M", ends[0], ends[1]); code != 2 && code != 6 {
			t.Errorf("%v: exit code %d: %s", ends, code, stderr)
		}
	}
	// Two devices on one file, apart and overlapping.
	a, b := loop(t, file, "--sizelimit", "2097152"), loop(t, file, "--offset", "1048576")
	if _, stderr, code := tryRun(t, "--hold", "trust", a, b); code == 0 || !strings.Contains(stderr, "shares blocks") {
		t.Errorf("overlapping: exit code %d: %s", code, stderr)
	}
	holds(t, file, content(1, 4*mib))
	expect(t, run(t, "--hold", "trust", "--range", "0:1M:1M", a, b), 1*mib, 0, "")
	want := content(1, 4*mib)
	copy(want[2*mib:3*mib], want)
	holds(t, file, want)
}

// TestNothingHoldsLoops is why a loop device is no destination for calls on its file:
// its place in the file can be changed while it is claimed and an anchor is held
// through it. If this test fails the kernel has learnt to wait, or to refuse.
func TestNothingHoldsLoops(t *testing.T) {
	dir := mounted(t, one, "mkfs.ext4", "-q", "-F")
	device := loop(t, write(t, content(1, 16*mib), dir, "disk"))
	onLoop := vm.Linear(t, "onloop", device, 0, 8*mib)
	vm.Settle(t)
	var mapped, below unix.Stat_t
	for path, st := range map[string]*unix.Stat_t{onLoop: &mapped, device: &below} {
		if err := unix.Stat(path, st); err != nil {
			t.Fatal(err)
		}
	}
	h := hold.NewHolder(hold.Auto, "/dev/mapper/onloop", devOf(mapped.Rdev), nil)
	defer h.Close()
	held, err := h.Hold(t.Context(), hold.Request{
		Chains:   []hold.Chain{{Start: 0, Len: 16384, Nodes: []remap.Dev{devOf(mapped.Rdev)}, Leaf: devOf(below.Rdev)}},
		Deadline: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	info.Offset = 4096
	err = unix.IoctlLoopSetStatus64(int(f.Fd()), info)
	if stillHeld := held.Check(); err != nil || stillHeld != nil {
		t.Errorf("changed under the anchor: %v, anchor: %v", err, stillHeld)
	}
	if err := held.Release(); err != nil {
		t.Error(err)
	}
}

func devOf(rdev uint64) remap.Dev { return remap.Dev{Major: unix.Major(rdev), Minor: unix.Minor(rdev)} }

// TestPlan: what is planned is what is done.
func TestPlan(t *testing.T) {
	dir := mounted(t, one, sharing["btrfs"]...)
	src, dst := write(t, content(1, 4*mib), dir, "src"), truncate(t, 4*mib, dir, "dst")
	out := vm.Run(t, "dmcopy", "plan", "--json", src, dst)
	for _, want := range []string{
		fmt.Sprintf("%q:%q", "method", account.FileReflink), fmt.Sprintf("%q:%q", "src_leaf", src), fmt.Sprintf("%q:%q", "dst_leaf", dst), `"domain":"btrfs:`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	holds(t, dst, make([]byte, 4*mib))
}
