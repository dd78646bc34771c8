package hold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// tree is a directory that looks like a cgroup hierarchy. What the kernel would
// make of what is written to its files, the tests do.
type tree struct {
	root, mountinfo string
}

func newTree(t *testing.T, controllers, enabled string) tree {
	t.Helper()
	tr := tree{root: t.TempDir(), mountinfo: filepath.Join(t.TempDir(), "mountinfo")}
	tr.write(t, "cgroup.controllers", controllers)
	tr.write(t, "cgroup.subtree_control", enabled)
	info := fmt.Sprintf("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 0:26 / %s rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", tr.root)
	if err := os.WriteFile(tr.mountinfo, []byte(info), 0o600); err != nil {
		t.Fatal(err)
	}
	return tr
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
func empty(t *testing.T, g *cgroup) {
	t.Helper()
	for _, name := range []string{"io.max", "cgroup.procs"} {
		if err := os.Remove(filepath.Join(g.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCgroup(t *testing.T) {
	tr := newTree(t, "cpuset cpu io memory\n", "cpu memory\n")
	own := tr.own(t)
	g, err := newCgroup(tr.mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	if got := tr.read(t, "cgroup.subtree_control"); got != "+io" {
		t.Errorf("the controller was enabled by %q", got)
	}
	leaf := remap.Dev{Major: 259, Minor: 3}
	for rate, want := range map[int64]string{16384: "259:3 rbps=16384", 1: "259:3 rbps=1", 0: "259:3 rbps=max"} {
		if err := g.throttle(leaf, rate); err != nil || tr.read(t, own+"/io.max") != want {
			t.Errorf("rate %d: %q, %v", rate, tr.read(t, own+"/io.max"), err)
		}
	}
	empty(t, g)
	if err := g.remove(); err != nil || tr.read(t, "cgroup.subtree_control") != "-io" {
		t.Errorf("%v, %q", err, tr.read(t, "cgroup.subtree_control"))
	}
	if _, err := os.Stat(g.dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the group is still there")
	}
}

// TestCgroupRenew: the process goes to the new group before the old one goes.
func TestCgroupRenew(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	tr.own(t)
	g, err := newCgroup(tr.mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	old := g.dir
	empty(t, g)
	next := tr.ownNumber(t, anchors.Load(), 2)
	if err := g.renew(12345); err != nil || tr.read(t, next+"/cgroup.procs") != "12345" {
		t.Errorf("%v, %q", err, tr.read(t, next+"/cgroup.procs"))
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) || g.dir == old {
		t.Error("the old group is still there")
	}
}

// TestCgroupLeavesOthersAlone: what was enabled before, or is used by another
// copy, stays enabled.
func TestCgroupLeavesOthersAlone(t *testing.T) {
	t.Run("enabled before", func(t *testing.T) {
		tr := newTree(t, "io\n", "cpu io\n")
		tr.own(t)
		g, err := newCgroup(tr.mountinfo)
		if err != nil {
			t.Fatal(err)
		}
		empty(t, g)
		if err := g.remove(); err != nil || tr.read(t, "cgroup.subtree_control") != "cpu io\n" {
			t.Errorf("%v, %q", err, tr.read(t, "cgroup.subtree_control"))
		}
	})
	t.Run("another copy", func(t *testing.T) {
		tr := newTree(t, "io\n", "")
		tr.own(t)
		tr.write(t, cgroupPrefix+"1-1/io.max", "") // the process 1 lives
		g, err := newCgroup(tr.mountinfo)
		if err != nil {
			t.Fatal(err)
		}
		empty(t, g)
		if err := g.remove(); err != nil || tr.read(t, "cgroup.subtree_control") != "+io" {
			t.Errorf("%v, %q", err, tr.read(t, "cgroup.subtree_control"))
		}
	})
}

// TestCgroupsOfOneProcess: the last one switches the controller off.
func TestCgroupsOfOneProcess(t *testing.T) {
	tr := newTree(t, "io\n", "")
	var all []*cgroup
	for range 2 {
		tr.own(t)
		g, err := newCgroup(tr.mountinfo)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	for i, want := range []string{"+io", "-io"} {
		empty(t, all[i])
		if err := all[i].remove(); err != nil || tr.read(t, "cgroup.subtree_control") != want {
			t.Errorf("%d: %v, %q", i, err, tr.read(t, "cgroup.subtree_control"))
		}
	}
}

// TestCgroupUnavailable: machines without the means say so, and stay as they are.
func TestCgroupUnavailable(t *testing.T) {
	t.Run("no controller", func(t *testing.T) {
		tr := newTree(t, "cpu memory\n", "")
		if _, err := newCgroup(tr.mountinfo); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		if len(groups(tr.root)) > 0 || tr.read(t, "cgroup.subtree_control") != "" {
			t.Error("something was left behind")
		}
	})
	t.Run("no hierarchy", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(path, []byte("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,blkio\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := newCgroup(path); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("no io.max", func(t *testing.T) { // a kernel without CONFIG_BLK_DEV_THROTTLING
		tr := newTree(t, "io\n", "")
		if _, err := newCgroup(tr.mountinfo); err == nil {
			t.Error("a group without io.max")
		}
		if len(groups(tr.root)) > 0 || tr.read(t, "cgroup.subtree_control") != "-io" {
			t.Errorf("left behind: %v, %q", groups(tr.root), tr.read(t, "cgroup.subtree_control"))
		}
	})
	t.Run("no mountinfo", func(t *testing.T) {
		if _, err := newCgroup(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// TestCgroupRoot: mount points are escaped in mountinfo (proc_pid_mountinfo(5)).
func TestCgroupRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	tests := map[string]string{
		"30 21 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw":                            "/sys/fs/cgroup",
		"30 21 0:26 / /a rw shared:1 master:2 propagate_from:3 - cgroup2 none rw":        "/a",
		"1 1 0:1 / /cgroup2 rw - tmpfs cgroup2 rw\n2 1 0:2 / /b rw - cgroup2 cgroup2 rw": "/b",
		"short - cgroup2\n2 1 0:2 / /b rw - cgroup2 cgroup2 rw":                          "/b",
	}
	for text, want := range tests {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := cgroupRoot(path); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestRemoveStale: groups of dead owners go, those of living ones stay.
func TestRemoveStale(t *testing.T) {
	root := t.TempDir()
	const nobody = 1<<22 + 1 // above PID_MAX_LIMIT
	for _, name := range []string{
		fmt.Sprint(cgroupPrefix, nobody, "-1"), fmt.Sprint(cgroupPrefix, nobody, "-23"), fmt.Sprint(cgroupPrefix, os.Getpid(), "-1"), cgroupPrefix + "x", "other"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	removeStale(root)
	left := groups(root)
	if len(left) != 2 || strings.Contains(fmt.Sprint(left), fmt.Sprint(nobody)) {
		t.Errorf("%v", left)
	}
}

// TestSweep: what one anchor has left behind goes, and the groups of another one
// of the same process stay.
func TestSweep(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	pid := os.Getpid()
	mine := &cgroup{root: tr.root, owner: fmt.Sprintf("%d-7", pid)}
	for _, name := range []string{"7-1", "7-2", "77-1", "8-1"} {
		if err := os.Mkdir(filepath.Join(tr.root, fmt.Sprintf("%s%d-%s", cgroupPrefix, pid, name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(mine.estate()); err != nil {
		t.Fatal(err)
	}
	if left := fmt.Sprint(groups(tr.root)); strings.Contains(left, "-7-") || !strings.Contains(left, "-77-1") || !strings.Contains(left, "-8-1") {
		t.Errorf("left: %s", left)
	}
}

// TestThrottleKeepsAccount: a longer hold lets through less, counted from what
// the first rate has let through already.
func TestThrottleKeepsAccount(t *testing.T) {
	tr := newTree(t, "io\n", "io\n")
	own := tr.own(t)
	g, err := newCgroup(tr.mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	leaf := remap.Dev{Major: 259}
	const bytes = 64 << 10
	credit := make(map[remap.Dev]int64)
	d := &dropped{anchor: &Anchor{group: g, credit: credit}, leaves: map[remap.Dev]*budget{leaf: {bytes: bytes}}}
	if err := d.throttle(); err != nil {
		t.Fatal(err)
	}
	rate := int64(bytes * time.Second / expiry)
	if got := tr.read(t, own+"/io.max"); got != fmt.Sprintf("259:0 rbps=%d", rate) {
		t.Errorf("%q", got)
	}
	// As if half of the time were over.
	d.leaves[leaf].since = time.Now().Add(-expiry / 2)
	d.until.Store(int64(boottime.Now().Add(expiry / 2)))
	if err := d.throttle(); err != nil {
		t.Fatal(err)
	}
	if b := d.leaves[leaf]; b.bytes > bytes/2 || b.bytes < bytes/4 || b.rate > rate/2 || d.Deadline().Sub(boottime.Now()) < expiry*3/4 {
		t.Errorf("%+v for %v", b, d.Deadline().Sub(boottime.Now()))
	}
	// Not even a byte is left, and still it is held back as much as can be.
	d.leaves[leaf].since = time.Now().Add(-10 * expiry)
	if err := d.throttle(); err != nil || d.leaves[leaf].rate != 1 {
		t.Errorf("%+v, %v", d.leaves[leaf], err)
	}
}

// TestFirstEnd: an anchor is not promised for longer than its shortest read is held back,
// counted from when the rate was not in force yet, less a slice of the throttle.
func TestFirstEnd(t *testing.T) {
	const began = boottime.Instant(100 * time.Second)
	for name, tt := range map[string]struct {
		budget
		before int64
		took   time.Duration
		want   time.Duration
	}{
		"one read":                   {budget{bytes: 4000, all: 4000, least: 4000, rate: 1000}, 0, 0, 4 * time.Second},
		"set slowly":                 {budget{bytes: 4000, all: 4000, least: 4000, rate: 1000}, 0, time.Second, 4 * time.Second},
		"one of four":                {budget{bytes: 4000, all: 4000, least: 1000, rate: 1000}, 0, 0, time.Second},
		"half of it has passed":      {budget{bytes: 2000, all: 4000, least: 4000, rate: 500}, 1000, 0, 4 * time.Second},
		"some passed meanwhile":      {budget{bytes: 2000, all: 4000, least: 4000, rate: 500}, 1000, time.Second, 2 * time.Second},
		"all of it passed meanwhile": {budget{bytes: 2000, all: 4000, least: 4000, rate: 500}, 1000, 5 * time.Second, 0},
		"the shortest is through":    {budget{bytes: 2000, all: 4000, least: 1000, rate: 500}, 1000, 0, 0},
	} {
		if got := tt.firstEnd(tt.before, began, began.Add(tt.took)); got != began.Add(tt.want-slice) {
			t.Errorf("%s: after %v", name, got.Sub(began))
		}
	}
}

// TestReadsInFlight reads what devices count.
func TestReadsInFlight(t *testing.T) {
	a := &Anchor{sysfs: t.TempDir()}
	dir := filepath.Join(a.sysfs, "dev/block/254:0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"       0        0\n": 0, "       3        7\n": 3, "1\n": -1, "": -1, "x 1": -1} {
		if err := os.WriteFile(filepath.Join(dir, "inflight"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := a.readsInFlight(dev(0)); (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if _, err := a.readsInFlight(dev(9)); !errors.Is(err, os.ErrNotExist) {
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
