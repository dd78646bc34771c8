package ends

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// anotherWay is for what cannot be frozen.
const anotherWay = "copy a snapshot of it (lvcreate -s), or accept an inconsistent copy with --live-source"

// freezing is for a source that is to be frozen.
type freezing struct{ *opener }

// open opens a source together with the file system on it.
func (f freezing) open(ctx context.Context) (Endpoint, error) {
	mounted, err := f.fileSystem(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	end, err := f.opener.open(0)
	if err != nil {
		return Endpoint{}, errors.Join(err, mounted.Close())
	}
	end.mounted = mounted
	return end, nil
}

// fileSystem opens the file system that keeps the source from changing once it is
// frozen. There has to be one, and nobody else who may write.
func (f freezing) fileSystem(ctx context.Context) (*freeze.FileSystem, error) {
	if f.facts == nil {
		return nil, failure.Refuse(f.name, "cannot be frozen: it is a regular file", "name the device that it is in, or leave out --freeze")
	}
	uses, err := f.uses()
	if err != nil {
		return nil, err
	}
	var dev remap.Dev
	for _, u := range uses {
		switch {
		case u.Kind == inuse.Swap, u.Kind == inuse.Member, u.Kind == inuse.Exported, u.Kind == inuse.Opened:
			return nil, failure.Refuse(f.name, "cannot be frozen: %s", anotherWay, f.describe(u))
		case u.Kind != inuse.MountedRW:
		case dev.IsZero() || dev == u.Dev:
			dev = u.Dev
		default:
			return nil, failure.Refuse(f.name, "cannot be frozen: there are several file systems on it, and %s", "copy them one by one", f.describe(u))
		}
	}
	if dev.IsZero() {
		return nil, f.refuseNotMounted(ctx)
	}
	if err := sharing(f).refuseFrozen(ctx, uses); err != nil {
		return nil, err
	}
	return f.mounted(dev)
}

// mounted opens the file system on a device by the first mount that leads to it.
func (f freezing) mounted(dev remap.Dev) (*freeze.FileSystem, error) {
	mounts, err := inuse.AllMounts(f.sys)
	if err != nil {
		return nil, failure.During("open", err)
	}
	var errs []error
	for _, m := range mounts {
		if m.Dev != dev {
			continue
		}
		opened, err := freeze.Open(filepath.Join("/", string(f.sys), m.Path()), dev)
		if err == nil {
			return opened, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 { // of several devices, or stacked
		return nil, failure.Refuse(f.name, "cannot be frozen: what is mounted of it does not tell that it is all of a file system", anotherWay)
	}
	return nil, failure.Refuse(f.name, "cannot be frozen: %v", "make one of its mounts reachable", errors.Join(errs...))
}

// Needed is something that a copy writes to, or cannot go on without.
type Needed struct {
	What string // "the state file"
	Path string
	// Way is what to do about it.
	Way string
	// ReadOnly: nothing is written there, and what is frozen can be read. It is refused
	// only if it is known to lie there: a whole machine would stand still with it.
	ReadOnly bool
}

// RefuseFreeze refuses to freeze a file system that the copy itself would wait for:
// that of its destination, or of anything below that, and those of what it needs.
func RefuseFreeze(sys sysblock.FS, src, dst Endpoint, needs []Needed) error {
	check := freezeCheck{sys: sys, dev: src.mounted.Dev(), seen: make(map[remap.Dev]bool)}
	target := Needed{What: "the destination " + dst.Name, Way: "choose another destination, or " + anotherWay}
	if err := check.refuse(src, target, check.underEnd(dst)); err != nil {
		return err
	}
	for _, n := range needs {
		if err := check.refuse(src, n, check.underFile(n.Path)); err != nil {
			return err
		}
	}
	return nil
}

var (
	errOnIt   = errors.New("it lies on what is to be frozen")
	errOpaque = errors.New("what is below it is not known")
)

// freezeCheck looks for what lies on the file system that is to be frozen, on the device dev.
type freezeCheck struct {
	sys  sysblock.FS
	dev  remap.Dev
	seen map[remap.Dev]bool
}

// refuse explains what one of the others has found.
func (c *freezeCheck) refuse(src Endpoint, n Needed, found error) error {
	switch {
	case errors.Is(found, errOnIt):
		return failure.Refuse(src.Name, "cannot be frozen: %s lies on it, and the copy would wait for itself", n.Way, n.What)
	case errors.Is(found, errOpaque) && n.ReadOnly:
		return nil
	case errors.Is(found, errOpaque):
		return failure.Refuse(src.Name, "cannot be frozen: %s may lie on it (%v)", n.Way, n.What, found)
	}
	return failure.During("open", found)
}

func (c *freezeCheck) underEnd(e Endpoint) error {
	if e.Dev.IsZero() {
		return c.underFile(e.Device.Name())
	}
	return c.under(e.Dev)
}

// underFile fails with errOnIt if the file, or the directory that it will be in,
// lies on the file system, and with errOpaque if that cannot be told.
func (c *freezeCheck) underFile(path string) error {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return c.underFile(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil // a terminal, a pipe
	}
	if err := stacked(path); err != nil {
		return err
	}
	return c.underMount(remap.Dev{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)})
}

// stacked fails for file systems that keep their files in others.
func stacked(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch st.Type {
	case unix.OVERLAYFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.ECRYPTFS_SUPER_MAGIC:
		return fmt.Errorf("%w: the file system of %s is an overlay or alike, which keeps its files in another one", errOpaque, path)
	}
	return nil
}

// underMount is for the number that files of a file system report. Without a
// major number it is none of a device.
func (c *freezeCheck) underMount(dev remap.Dev) error {
	switch {
	case dev == c.dev:
		return errOnIt
	case dev.Major == 0:
		return nil
	}
	return c.under(dev)
}

// under is for block devices. What lies on the device of the file system lies
// beside it, or nobody could have mounted it; what a loop device stores goes through
// the file system that its file is on.
func (c *freezeCheck) under(dev remap.Dev) error {
	if c.seen[dev] {
		return nil
	}
	c.seen[dev] = true
	facts, err := c.sys.Facts(dev)
	if err != nil {
		return err
	}
	lower := facts.Slaves
	switch {
	case facts.LowerUnknown:
		return fmt.Errorf("%w: %s: %s", errOpaque, facts.Name, facts.Unread)
	case facts.Part != nil:
		lower = []remap.Dev{facts.Part.Parent}
	case facts.Kind == sysblock.Loop:
		return c.underLoop(facts)
	case facts.Stacked() && len(lower) == 0 && facts.Kind != sysblock.DM: // tables without devices
		return fmt.Errorf("%w: %s", errOpaque, facts.Name)
	}
	for _, dev := range lower {
		if err := c.under(dev); err != nil {
			return err
		}
	}
	return nil
}

func (c *freezeCheck) underLoop(facts *sysblock.Facts) error {
	l, err := c.sys.LoopFile(facts)
	switch {
	case err != nil:
		return err
	case l == nil:
		return nil // it holds nothing
	case l.Block != nil:
		return c.under(*l.Block)
	}
	number, isFile := strings.CutPrefix(l.ID, "file:")
	number = number[:max(strings.LastIndexByte(number, ':'), 0)]
	dev, err := remap.ParseDev(number)
	if !isFile || err != nil {
		return fmt.Errorf("%w: %s does not tell where its file is", errOpaque, facts.Name)
	}
	if err := stacked(l.File); errors.Is(err, errOpaque) { // the path may be of another mount namespace
		return err
	}
	return c.underMount(dev)
}
