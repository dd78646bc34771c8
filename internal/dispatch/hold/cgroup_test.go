package hold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// tree is a directory that looks like a cgroup hierarchy. What the kernel would
// make of what is written to its files, the tests do.
type tree struct {
	root    string
	machine sysfs.Root
}

func newTree(t *testing.T, controllers, enabled string) tree {
	t.Helper()
	tr := tree{root: t.TempDir()}
	tr.write(t, "cgroup.controllers", controllers)
	tr.write(t, "cgroup.subtree_control", enabled)
	info := fmt.Sprintf("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 0:26 / %s rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", tr.root)
	tr.machine = mounting(t, info)
	return tr
}

// mounting is a machine that has a list of mounts.
func mounting(t *testing.T, mountinfo string) sysfs.Root {
	t.Helper()
	root := sysfs.Root(t.TempDir())
	if err := errors.Join(os.MkdirAll(root.Path("proc/self"), 0o755), os.WriteFile(root.Path("proc/self/mountinfo"), []byte(mountinfo), 0o600)); err != nil {
		t.Fatal(err)
	}
	return root
}

func (tr tree) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(tr.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (tr tree) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tr.root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// own is the group of this process, which the kernel would fill with files.
func (tr tree) own(t *testing.T) string {
	return tr.ownNumber(t, anchors.Load()+1, 1)
}

func (tr tree) ownNumber(t *testing.T, anchor int64, n int) string {
	name := fmt.Sprintf("%s%d-%d-%d", cgroupPrefix, os.Getpid(), anchor, n)
	tr.write(t, name+"/io.max", "")
	tr.write(t, name+"/cgroup.procs", "")
	return name
}

// empty removes the files of a group, which the kernel does not mind.
func empty(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"io.max", "cgroup.procs"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// mustMake makes the groups of an anchor, and the first one.
func mustMake(t *testing.T, tr tree) (*cgroups, string) {
	t.Helper()
	tr.own(t)
	g, err := newCgroups(tr.machine)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := g.make()
	if err != nil {
		t.Fatal(err)
	}
	return g, dir
}

func TestCgroup(t *testing.T) {
	tr := newTree(t, "cpuset cpu io memory\n", "cpu memory\n")
	g, dir := mustMake(t, tr)
	if got := tr.read(t, "cgroup.subtree_control"); got != "+io" {
		t.Errorf("the controller was enabled by %q", got)
	}
	leaf := remap.Dev{Major: 259, Minor: 3}
	for rate, want := range map[int64]string{16384: "259:3 rbps=16384", 2: "259:3 rbps=2", 0: "259:3 rbps=max"} {
		if err := g.limit(dir, leaf, rate); err != nil || tr.read(t, filepath.Base(dir)+"/io.max") != want {
			t.Errorf("rate %d: %q, %v", rate, tr.read(t, filepath.Base(dir)+"/io.max"), err)
		}
	}
	if err := g.enter(dir, 12345); err != nil || tr.read(t, filepath.Base(dir)+"/cgroup.procs") != "12345" {
		t.Errorf("%q, %v", tr.read(t, filepath.Base(dir)+"/cgroup.procs"), err)
	}
	empty(t, dir)
	if err := g.close(); err != nil || tr.read(t, "cgroup.subtree_control") != "-io" {
		t.Errorf("%v, %q", err, tr.read(t, "cgroup.subtree_control"))
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the group is still there")
	}
}

// TestCgroupsAreApart: each is another one.
func TestCgroupsAreApart(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	g, first := mustMake(t, tr)
	tr.ownNumber(t, anchors.Load(), 2)
	if second, err := g.make(); err != nil || second == first || len(g.own()) != 2 {
		t.Errorf("%q, %q, %v", first, second, err)
	}
}

// TestReaderMoves: the helper is moved into the group of the next read, and a group goes when it has left it, not before.
func TestReaderMoves(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	g, readerGroup := mustMake(t, tr)
	h := start(t)
	defer h.close(5 * time.Second)
	s := &system{groups: g, readerGroup: readerGroup, removeLeft: true, reader: h}
	for n := range 3 {
		tr.ownNumber(t, anchors.Load(), n+2)
		next, err := s.newGroup()
		if err != nil {
			t.Fatal(err)
		}
		empty(t, readerGroup)
		for range 2 {
			if _, err := s.read(next, span{0, 4096}); err != nil {
				t.Fatal(err)
			}
		}
		if text := tr.read(t, filepath.Base(next)+"/cgroup.procs"); text != fmt.Sprint(h.cmd.Process.Pid) {
			t.Errorf("%q", text)
		}
		if left := g.own(); !slices.Equal(left, []string{next}) {
			t.Errorf("left: %v", left)
		}
		if err := s.removeGroup(next); err != nil || len(g.own()) != 1 {
			t.Errorf("%v, %v", g.own(), err)
		}
		readerGroup = next
	}
}

// TestCgroupLeavesOthersAlone: what was enabled before, or is used by another
// copy, stays enabled.
func TestCgroupLeavesOthersAlone(t *testing.T) {
	t.Run("enabled before", func(t *testing.T) {
		tr := newTree(t, "io\n", "cpu io\n")
		g, dir := mustMake(t, tr)
		empty(t, dir)
		if err := g.close(); err != nil || tr.read(t, "cgroup.subtree_control") != "cpu io\n" {
			t.Errorf("%v, %q", err, tr.read(t, "cgroup.subtree_control"))
		}
	})
	t.Run("another copy", func(t *testing.T) {
		tr := newTree(t, "io\n", "")
		tr.write(t, cgroupPrefix+"1-1/io.max", "") // the process 1 lives
		g, dir := mustMake(t, tr)
		empty(t, dir)
		if err := g.close(); err != nil || tr.read(t, "cgroup.subtree_control") != "+io" {
			t.Errorf("%v, %q", err, tr.read(t, "cgroup.subtree_control"))
		}
	})
}

// TestCgroupsOfOneProcess: the last one switches the controller off.
func TestCgroupsOfOneProcess(t *testing.T) {
	tr := newTree(t, "io\n", "")
	var all []*cgroups
	var dirs []string
	for range 2 {
		g, dir := mustMake(t, tr)
		all, dirs = append(all, g), append(dirs, dir)
	}
	for i, want := range []string{"+io", "-io"} {
		empty(t, dirs[i])
		if err := all[i].close(); err != nil || tr.read(t, "cgroup.subtree_control") != want {
			t.Errorf("%d: %v, %q", i, err, tr.read(t, "cgroup.subtree_control"))
		}
	}
}

// TestCgroupUnavailable: machines without the means say so, and stay as they are.
func TestCgroupUnavailable(t *testing.T) {
	t.Run("no controller", func(t *testing.T) {
		tr := newTree(t, "cpu memory\n", "")
		if _, err := newCgroups(tr.machine); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		if len(groups(tr.root)) > 0 || tr.read(t, "cgroup.subtree_control") != "" {
			t.Error("something was left behind")
		}
	})
	t.Run("no hierarchy", func(t *testing.T) {
		machine := mounting(t, "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,blkio\n")
		if _, err := newCgroups(machine); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("no io.max", func(t *testing.T) { // a kernel without CONFIG_BLK_DEV_THROTTLING
		tr := newTree(t, "io\n", "")
		g, err := newCgroups(tr.machine)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.make(); err == nil {
			t.Error("a group without io.max")
		}
		if err := g.close(); err != nil || len(groups(tr.root)) > 0 || tr.read(t, "cgroup.subtree_control") != "-io" {
			t.Errorf("left behind: %v, %q", groups(tr.root), tr.read(t, "cgroup.subtree_control"))
		}
	})
	t.Run("no mountinfo", func(t *testing.T) {
		if _, err := newCgroups(sysfs.Root(t.TempDir())); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// TestCgroupRoot: mount points are escaped in mountinfo (proc_pid_mountinfo(5)).
func TestCgroupRoot(t *testing.T) {
	tests := map[string]string{
		"30 21 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw":                            "/sys/fs/cgroup",
		"30 21 0:26 / /a rw shared:1 master:2 propagate_from:3 - cgroup2 none rw":        "/a",
		"1 1 0:1 / /cgroup2 rw - tmpfs cgroup2 rw\n2 1 0:2 / /b rw - cgroup2 cgroup2 rw": "/b",
		`30 21 0:26 / /a\040b rw - cgroup2 cgroup2 rw`:                                   "/a b",
		"short - cgroup2\n2 1 0:2 / /b rw - cgroup2 cgroup2 rw":                          "/b",
	}
	for text, want := range tests {
		if got, err := cgroupRoot(mounting(t, text+"\n")); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestRemoveStale: groups of dead owners go that hold nothing, those of living ones stay.
func TestRemoveStale(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	const nobody = 1<<22 + 1 // above PID_MAX_LIMIT
	living := fmt.Sprint(cgroupPrefix, os.Getpid(), "-1-1")
	for _, name := range []string{fmt.Sprint(cgroupPrefix, nobody, "-1-1"), fmt.Sprint(cgroupPrefix, nobody, "-23-1"), living, cgroupPrefix + "x", "other"} {
		if err := os.Mkdir(filepath.Join(tr.root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	limited := fmt.Sprint(cgroupPrefix, nobody, "-2-1")
	tr.write(t, limited+"/io.max", limits)
	removeStale(tr.root, time.Now().Add(-time.Hour))
	var left []string
	for _, dir := range groups(tr.root) {
		left = append(left, filepath.Base(dir))
	}
	if want := []string{limited, living, cgroupPrefix + "x"}; !slices.Equal(slices.Sorted(slices.Values(left)), slices.Sorted(slices.Values(want))) {
		t.Errorf("left: %v", left)
	}
	if dir := filepath.Join(tr.root, limited); stale(dir, time.Now().Add(-time.Hour)) || !stale(dir, time.Now().Add(time.Hour)) {
		t.Error("a group with a limit is stale when it is old, and not before")
	}
}

// limits is what io.max says of a group with a read of one disk.
const limits = "259:0 rbps=2 wbps=max riops=max wiops=max\n"

// TestCleanUp: what one anchor has left behind goes, and the groups of another one
// of the same process stay. What may hold something is let go first, after a while.
func TestCleanUp(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	pid := os.Getpid()
	mine := &cgroups{root: tr.root, owner: fmt.Sprintf("%d-7", pid)}
	for _, name := range []string{"7-1", "7-2", "77-1", "8-1"} {
		if err := os.Mkdir(filepath.Join(tr.root, fmt.Sprintf("%s%d-%s", cgroupPrefix, pid, name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	held := fmt.Sprintf("%s%d-7-2", cgroupPrefix, pid)
	tr.write(t, held+"/io.max", limits)
	if err := mine.removeUnlimited(); !errors.Is(err, errLimited) {
		t.Error(err)
	}
	const patience = 50 * time.Millisecond
	began, kernel := time.Now(), make(chan time.Duration)
	go func() { // a group without limits has an empty file there; here it must be gone for the directory to be
		for range 2000 {
			if text, err := os.ReadFile(filepath.Join(tr.root, held, "io.max")); err == nil && string(text) == "259:0 rbps=max" {
				kernel <- time.Since(began)
				_ = os.Remove(filepath.Join(tr.root, held, "io.max"))
				return
			}
			time.Sleep(time.Millisecond)
		}
		close(kernel)
	}()
	done := make(chan error, 1)
	go func() { done <- cleanUp(mine.cleanupSpec(), patience) }()
	if after := <-kernel; after < patience {
		t.Errorf("the limit was lifted after %v", after)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if left := fmt.Sprint(groups(tr.root)); strings.Contains(left, "-7-") || !strings.Contains(left, "-77-1") || !strings.Contains(left, "-8-1") {
		t.Errorf("left: %s", left)
	}
}

// TestReadsInFlight reads what devices count.
func TestReadsInFlight(t *testing.T) {
	a := &system{machine: sysfs.Root(t.TempDir())}
	dir := a.machine.Path("sys/dev/block/254:0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"       0        0\n": 0, "       3        7\n": 3, "1\n": -1, "": -1, "x 1": -1} {
		if err := os.WriteFile(filepath.Join(dir, "inflight"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := a.inFlight(dev(0)); (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if _, err := a.inFlight(dev(9)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestHolder: what needs no anchor, and what cannot have one.
func TestHolder(t *testing.T) {
	mapped := Request{Chains: []Chain{{Len: 8, Nodes: []remap.Dev{dev(0)}}}}
	plain := Request{Chains: []Chain{{Len: 8}}, Groups: []string{"vg"}}
	for _, mode := range []Mode{Auto, Trust, None} {
		h := NewHolder(mode, "/nonexistent", dev(0), nil)
		held, err := h.Hold(t.Context(), plain)
		if err != nil || held.Check() != nil || held.Extend() != nil || held.Deadline() != boottime.Forever || held.Release() != nil {
			t.Errorf("%s: a plain destination: %v", mode, err)
		}
		held, err = h.Hold(t.Context(), mapped)
		if (err == nil) != (mode == Trust) || err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: a mapped destination: %v, %v", mode, held, err)
		}
		if ready := h.Ready(); (ready == nil) != (mode == Trust) {
			t.Errorf("%s: %v", mode, ready)
		}
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// TestOpenDevice: the node has to be the device that is meant.
func TestOpenDevice(t *testing.T) {
	if _, err := openDevice(file(t).Name(), dev(0)); err == nil || !strings.Contains(err.Error(), "254:0") {
		t.Error(err)
	}
	if _, err := openDevice("/nonexistent", dev(0)); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	// 1:3 is /dev/null among the character devices, and a RAM disk among the others.
	if f, err := openDevice(os.DevNull, remap.Dev{Major: 1, Minor: 3}); err == nil {
		t.Errorf("%s was taken for a block device", f.Name())
	}
}

func TestIsNode(t *testing.T) {
	disk := remap.Dev{Major: 259, Minor: 3}
	for name, tt := range map[string]struct {
		mode         uint32
		major, minor uint32
		want         bool
	}{
		"it": {unix.S_IFBLK | 0o660, 259, 3, true}, "another disk": {unix.S_IFBLK, 259, 4, false}, "another kind of disk": {unix.S_IFBLK, 8, 3, false},
		"character device": {unix.S_IFCHR, 259, 3, false}, "file": {unix.S_IFREG, 259, 3, false},
	} {
		if got := isNode(unix.Stat_t{Mode: tt.mode, Rdev: unix.Mkdev(tt.major, tt.minor)}, disk); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
