package hold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// When a copy is killed, its anchor stays until it expires, and nobody is left
// to remove the cgroup. The helper outside of the cgroup, which has nothing
// else to do by then, sees to it.

const (
	sweepPatience = 3 * expiry
	sweepEvery    = 10 * time.Millisecond
)

// estate is what a helper needs to know to clean up after its parent, as one
// word: root of the hierarchy, owner of the groups, and whether it had switched
// the io controller on.
func (g *cgroup) estate() string {
	return fmt.Sprintf("%s:%s:%t", g.root, g.owner, g.enabled)
}

// sweep removes the groups of an anchor whose process has ended. If it did so
// itself, there is nothing to do.
func sweep(estate string) error {
	fields := strings.Split(estate, ":")
	if len(fields) != 3 {
		return nil // not an heir
	}
	enabled, err := strconv.ParseBool(fields[2])
	if err != nil {
		return err
	}
	g := &cgroup{root: fields[0], owner: fields[1], enabled: enabled}
	deadline := time.Now().Add(sweepPatience)
	for {
		err := g.removeAll()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(sweepEvery)
	}
}

// removeAll removes all groups of the owner, and leaves those of other anchors
// alone.
func (g *cgroup) removeAll() error {
	var errs []error
	for _, dir := range groups(g.root) {
		if strings.HasPrefix(filepath.Base(dir), cgroupPrefix+g.owner+"-") {
			if err := os.Remove(dir); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return g.disable()
}
