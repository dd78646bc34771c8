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
// to remove the cgroups. The helper outside of them, which has nothing else to
// do by then, sees to it. It also lets reads go that were slowed down to last for minutes.

const (
	cleanupTimeout  = 3 * expiry
	cleanupInterval = 10 * time.Millisecond
)

// cleanupSpec is what a helper needs to know to clean up after its parent, as one
// word: root of the hierarchy, owner of the groups, and whether it had switched
// the io controller on.
func (g *cgroups) cleanupSpec() string {
	return fmt.Sprintf("%s:%s:%t", g.root, g.owner, g.enabled)
}

// cleanUp removes the groups of an anchor whose process has ended. If it did so
// itself, there is nothing to do. What has limits still may hold the layout for
// commands that were left behind: it is let go when an expiry is over.
func cleanUp(spec string, expiry time.Duration) error {
	fields := strings.Split(spec, ":")
	if len(fields) != 3 {
		return nil // nothing to clean up
	}
	enabled, err := strconv.ParseBool(fields[2])
	if err != nil {
		return err
	}
	g := &cgroups{root: fields[0], owner: fields[1], enabled: enabled}
	began := time.Now()
	for {
		err := g.removeUnlimited()
		if err == nil || time.Since(began) > cleanupTimeout {
			return err
		}
		if time.Since(began) > expiry {
			g.liftLimits()
		}
		time.Sleep(cleanupInterval)
	}
}

// errLimited: a group is left alone because reads of it may be in flight.
var errLimited = errors.New("the group has limits")

// removeUnlimited removes all groups of the owner that have no limits, and leaves
// those of other anchors alone.
func (g *cgroups) removeUnlimited() error {
	var errs []error
	for _, dir := range g.own() {
		limits, err := limitsOf(dir)
		switch {
		case err != nil:
			errs = append(errs, err)
		case len(limits) > 0:
			errs = append(errs, errLimited)
		default:
			errs = append(errs, g.remove(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return g.disable()
}

// liftLimits lifts all limits of the owner. What fails is tried again.
func (g *cgroups) liftLimits() {
	for _, dir := range g.own() {
		limits, err := limitsOf(dir)
		if err != nil {
			continue
		}
		for _, disk := range limits {
			_ = os.WriteFile(filepath.Join(dir, "io.max"), []byte(disk+" rbps="+unlimited), 0)
		}
	}
}
