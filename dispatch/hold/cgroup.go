package hold

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// cgroupPrefix names our groups; behind it stand the pid of the process, the
// number of the anchor in it, and a serial number.
const cgroupPrefix = "dmcopy-anchor-"

// anchors counts those of this process, which may carry out several copies.
var anchors atomic.Int64

// switchedOn holds the roots for whose children this process has switched the io
// controller on: the last of its anchors switches it off.
var switchedOn sync.Map

// cgroup is a group of processes whose reads of a leaf are throttled.
type cgroup struct {
	root    string // mount point of the unified hierarchy
	dir     string
	owner   string // pid and number of the anchor
	serial  int    // of the groups made so far
	enabled bool   // we switched the io controller on for the children of root
}

// newCgroup makes a group below the root of the unified hierarchy mounted at
// the place that mountinfo (a file like /proc/self/mountinfo) tells.
func newCgroup(mountinfo string) (*cgroup, error) {
	root, err := cgroupRoot(mountinfo)
	if err != nil {
		return nil, fail("cgroup", "this machine", err)
	}
	g := &cgroup{root: root, owner: fmt.Sprintf("%d-%d", os.Getpid(), anchors.Add(1))}
	removeStale(root)
	if err := g.enable(); err != nil {
		return nil, fail("cgroup", root, err)
	}
	if err := g.make(); err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

// make makes the directory of the group.
func (g *cgroup) make() error {
	g.serial++
	g.dir = filepath.Join(g.root, fmt.Sprintf("%s%s-%d", cgroupPrefix, g.owner, g.serial))
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fail("cgroup", g.dir, err)
	}
	_, err := os.Stat(filepath.Join(g.dir, "io.max"))
	return fail("cgroup", g.dir, err)
}

// renew moves the process into a new group, whose throttle has no past.
func (g *cgroup) renew(pid int) error {
	old := g.dir
	if err := g.make(); err != nil {
		return err
	}
	procs := filepath.Join(g.dir, "cgroup.procs")
	if err := os.WriteFile(procs, strconv.AppendInt(nil, int64(pid), 10), 0); err != nil {
		return fail("cgroup", procs, err)
	}
	return fail("cgroup", old, os.Remove(old))
}

// cgroupRoot finds where cgroup2 is mounted (proc_pid_mountinfo(5): the type
// of the filesystem follows a lone dash).
func cgroupRoot(mountinfo string) (string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		dash := slices.Index(fields, "-")
		if dash >= 5 && dash+1 < len(fields) && fields[dash+1] == "cgroup2" {
			return fields[4], nil
		}
	}
	return "", errors.Join(fmt.Errorf("no cgroup2 is mounted: %w", ErrUnavailable), lines.Err())
}

// enable makes io.max appear in the children of the root.
func (g *cgroup) enable() error {
	has, err := hasController(filepath.Join(g.root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("the io controller is not available: %w", ErrUnavailable)
	}
	control := filepath.Join(g.root, "cgroup.subtree_control")
	if has, err = hasController(control); has || err != nil {
		return err
	}
	g.enabled = true
	switchedOn.Store(g.root, g)
	return os.WriteFile(control, []byte("+io"), 0)
}

func hasController(file string) (bool, error) {
	text, err := os.ReadFile(file)
	return slices.Contains(strings.Fields(string(text)), "io"), err
}

// throttle lets the group read from the leaf at the given rate in bytes per
// second; 0 lifts the limit.
func (g *cgroup) throttle(leaf remap.Dev, rate int64) error {
	limit := "max"
	if rate > 0 {
		limit = strconv.FormatInt(rate, 10)
	}
	rule := fmt.Sprintf("%s rbps=%s", leaf, limit)
	return fail("cgroup", g.dir+" "+rule, os.WriteFile(filepath.Join(g.dir, "io.max"), []byte(rule), 0))
}

// remove deletes the group and puts the root back as it was. It fails with
// EBUSY while a process is in the group.
func (g *cgroup) remove() error {
	if err := os.Remove(g.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail("cgroup", g.dir, err)
	}
	return g.disable()
}

// disable switches the io controller off again, if this process had switched it
// on and nobody else uses it.
func (g *cgroup) disable() error {
	_, ours := switchedOn.Load(g.root)
	if !ours && !g.enabled || len(groups(g.root)) > 0 {
		return nil
	}
	switchedOn.Delete(g.root)
	err := os.WriteFile(filepath.Join(g.root, "cgroup.subtree_control"), []byte("-io"), 0)
	if errors.Is(err, unix.EBUSY) {
		return nil // somebody else uses the controller by now
	}
	return fail("cgroup", g.root, err)
}

// groups lists the anchor groups below root.
func groups(root string) []string {
	found, err := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
	if err != nil {
		return nil
	}
	return found
}

// removeStale deletes groups whose owner is dead. They are empty and throttle
// nobody, so that failing to delete one is of no consequence.
func removeStale(root string) {
	for _, dir := range groups(root) {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = os.Remove(dir)
		}
	}
}
