package hold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// cgroupPrefix names our groups; behind it stand the pid of the process, the
// number of the anchor in it, and a serial number.
const cgroupPrefix = "dmcopy-anchor-"

// anchors counts those of this process, which may carry out several copies.
var anchors atomic.Int64

// unlimited is the limit that is none.
const unlimited = "max"

// switchedOn holds the roots for whose children this process has switched the io
// controller on: the last of its anchors switches it off.
var switchedOn sync.Map

// cgroups are the groups of one anchor, each with reads that are throttled apart
// from those of others.
type cgroups struct {
	root    string // mount point of the unified hierarchy
	owner   string // pid and number of the anchor
	serial  atomic.Int64
	enabled bool // we switched the io controller on for the children of root
}

// newCgroups prepares groups below the root of the unified hierarchy of a machine.
func newCgroups(machine sysfs.Root) (*cgroups, error) {
	root, err := cgroupRoot(machine)
	if err != nil {
		return nil, fail("cgroup", "this machine", err)
	}
	g := &cgroups{root: root, owner: fmt.Sprintf("%d-%d", os.Getpid(), anchors.Add(1))}
	removeStale(root, time.Now().Add(-staleAfter))
	if err := g.enable(); err != nil {
		return nil, fail("cgroup", root, err)
	}
	return g, nil
}

// make makes a group and returns its directory.
func (g *cgroups) make() (string, error) {
	dir := filepath.Join(g.root, fmt.Sprintf("%s%s-%d", cgroupPrefix, g.owner, g.serial.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fail("cgroup", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "io.max")); err != nil {
		return "", errors.Join(fail("cgroup", dir, err), os.Remove(dir))
	}
	return dir, nil
}

// enter moves a process into the group. It takes some milliseconds.
func (g *cgroups) enter(dir string, pid int) error {
	procs := filepath.Join(dir, "cgroup.procs")
	return fail("cgroup", procs, os.WriteFile(procs, strconv.AppendInt(nil, int64(pid), 10), 0))
}

// cgroupRoot finds where cgroup2 is mounted. What else is mounted need not be understood.
func cgroupRoot(machine sysfs.Root) (string, error) {
	mounts, err := machine.Mounts()
	for _, m := range mounts {
		if m.Type == "cgroup2" {
			return m.Point, nil
		}
	}
	return "", errors.Join(fmt.Errorf("no cgroup2 is mounted: %w", ErrUnavailable), err)
}

// enable makes io.max appear in the children of the root.
func (g *cgroups) enable() error {
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

// limit lets a group read from the leaf at the given rate in bytes per second; 0
// lifts the limit.
func (g *cgroups) limit(dir string, leaf remap.Dev, rate int64) error {
	limit := unlimited
	if rate > 0 {
		limit = strconv.FormatInt(rate, 10)
	}
	rule := fmt.Sprintf("%s rbps=%s", leaf, limit)
	return fail("cgroup", dir+" "+rule, os.WriteFile(filepath.Join(dir, "io.max"), []byte(rule), 0))
}

// remove deletes a group. It fails with EBUSY while a process is in it.
func (g *cgroups) remove(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail("cgroup", dir, err)
	}
	return nil
}

// own lists the groups of the anchor.
func (g *cgroups) own() []string {
	return slices.DeleteFunc(groups(g.root), func(dir string) bool {
		return !strings.HasPrefix(filepath.Base(dir), cgroupPrefix+g.owner+"-")
	})
}

// close deletes the groups, none of which has a read in flight, and puts the root
// back as it was.
func (g *cgroups) close() error {
	var errs []error
	for _, dir := range g.own() {
		errs = append(errs, g.remove(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return g.disable()
}

// disable switches the io controller off again, if this process had switched it
// on and nobody else uses it.
func (g *cgroups) disable() error {
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

// staleAfter is how old a group is that cannot have a read in flight any more,
// even of one that was slowed down.
const staleAfter = 2 * longHold

// removeStale deletes groups whose owner is dead and which hold nothing. Failing
// to delete one is of no consequence.
func removeStale(root string, before time.Time) {
	for _, dir := range groups(root) {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) && stale(dir, before) {
			_ = os.Remove(dir)
		}
	}
}

// stale tells whether a group without an owner has no limit, or was made before a time.
func stale(dir string, before time.Time) bool {
	made, err := os.Stat(dir)
	if err != nil {
		return false
	}
	limits, err := limitsOf(dir)
	return err == nil && len(limits) == 0 || made.ModTime().Before(before)
}

// limitsOf lists the disks for which a group has limits (Documentation/admin-guide/cgroup-v2.rst, io.max:
// a line for each, which begins with its number). Without the controller there are none.
func limitsOf(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "io.max"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var disks []string
	for line := range strings.Lines(string(text)) {
		if disk, _, ok := strings.Cut(line, " "); ok {
			disks = append(disks, disk)
		}
	}
	return disks, err
}
