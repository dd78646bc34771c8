package ends

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// Who has claimed a device need not show. A file system that is mounted where no process is, or not
// any more (umount --lazy), or nowhere yet (fsmount), is in no list of mounts, and has no descriptor
// of its device that fuser(1) could find.

// holder says, of a claim that failed, what is known of who has the device, and how more is found out.
func (o *opener) holder(err error) (who, way string) {
	who = o.claimedAs(err) + " opened exclusively by somebody else"
	name, path := o.facts.Name, o.path
	if e := (*claimError)(nil); errors.As(err, &e) {
		name, path = e.name, filepath.Join("/dev", e.name)
	}
	if kind := o.mountedAs(name); kind != "" {
		return who + ", for a file system (" + kind + ") that is mounted where no list of mounts shows it",
			"unmount it there: in a namespace of mounts; or end who still uses its files after umount --lazy"
	}
	return who, "find out who holds it: fuser -v " + path + "; if nobody does, a file system of it may be mounted where no list of mounts shows it: " +
		"in a namespace of mounts, or after umount --lazy"
}

// telling are file systems that have a directory of the device's name for each that is mounted
// (fs/ext4/sysfs.c, ext4_register_sysfs, and the like).
var telling = []string{"ext4", "f2fs", "nilfs2", "xfs"}

// mountedAs is the type of the file system that the kernel has mounted of a device, if its driver
// tells.
func (o *opener) mountedAs(name string) string {
	for _, kind := range telling {
		if name != "" && !isMissing(o.sys.Root().Path("sys/fs", kind, name)) {
			return kind
		}
	}
	return ""
}

// refuseNotMounted refuses to freeze a source that is mounted read-write nowhere, as far as lists of mounts
// tell. If somebody has claimed it, it may be nevertheless.
func (f freezing) refuseNotMounted(ctx context.Context) error {
	err := f.claimable(ctx)
	if errors.Is(err, failure.ErrInterrupted) {
		return err
	}
	if !errors.Is(err, unix.EBUSY) {
		return failure.Refuse(f.name, "is not mounted read-write: there is nothing to freeze", "leave out --freeze")
	}
	who, way := f.holder(err)
	return failure.Refuse(f.name, "cannot be frozen: no list of mounts shows it mounted read-write, and %s", way+"; or "+anotherWay, who)
}

// claimable tells whether nobody has claimed the source, but to read.
func (f freezing) claimable(ctx context.Context) error {
	if f.sys != Here {
		return nil // its nodes are not there
	}
	var c *claims
	c = c.share(f.sys)
	return errors.Join(c.still(ctx, f.facts), c.Close())
}
