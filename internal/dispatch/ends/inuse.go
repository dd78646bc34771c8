package ends

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// Who uses a device is asked three times. What the kernel shows of users is looked through,
// because not all of them claim what they use: loop devices, targets that export a disk,
// programs that serve one. Whoever uses anything on the machine is looked for where the
// device lies: sharers.go. Then the device is claimed, because not all who have
// claimed it show: a mount in a namespace without processes does not.

// liveWay is what can be done about a source that is written to.
const liveWay = "or accept an inconsistent copy with --live-source"

// claimStill refuses a source that may change while it is read, and claims it.
func (o *opener) claimStill(ctx context.Context, c *claims) error {
	if err := o.refuseLive(); err != nil || o.facts == nil {
		return err
	}
	if err := o.refuseSharedSource(ctx); err != nil {
		return err
	}
	err := c.still(ctx, o.facts)
	if errors.Is(err, unix.EBUSY) {
		// Who came in between has a name.
		if err := o.refuseLive(); err != nil {
			return err
		}
		return failure.Refuse(o.name, "may change while it is read: %s opened exclusively by somebody else", "find out who holds it (fuser -v "+o.path+"), "+liveWay, o.claimedAs(err))
	}
	return o.refuseUnclaimed(err)
}

// claimUnused refuses a destination that somebody relies on, and claims it.
func (o *opener) claimUnused(ctx context.Context, c *claims) error {
	if err := o.refuseUsed(); err != nil || o.facts == nil {
		return err
	}
	if err := o.refuseSharedDestination(ctx); err != nil {
		return err
	}
	err := c.unused(ctx, o.facts)
	if errors.Is(err, unix.EBUSY) {
		if err := o.refuseUsed(); err != nil {
			return err
		}
		return failure.Refuse(o.name, "is in use: %s opened exclusively by somebody else", "find out who holds it: fuser -v "+o.path, o.claimedAs(err))
	}
	return o.refuseUnclaimed(err)
}

func (o *opener) refuseUnclaimed(err error) error {
	switch {
	case err == nil:
		return nil
	case isReplaced(err):
		return o.replaced()
	case errors.Is(err, sysblock.ErrGone):
		return o.refuseUnfound(err)
	}
	return o.refuseUnopened(err)
}

// claimedAs names the device that an error of a claim is about.
func (o *opener) claimedAs(err error) string {
	var e *claimError
	switch {
	case errors.As(err, &e) && e.path != "":
		return e.name + ", another path to it, is"
	case errors.As(err, &e) && e.name != o.facts.Name:
		return e.name + " is"
	}
	return "it is"
}

// refuseLive refuses a source that changes while it is read.
func (o *opener) refuseLive() error {
	uses, err := o.uses()
	if err != nil {
		return err
	}
	if err := o.refuseOutput(uses); err != nil {
		return err
	}
	var worst *inuse.Use
	for i := range uses {
		u := &uses[i]
		if u.Kind.Writes() && (worst == nil || severity(u.Kind) > severity(worst.Kind)) {
			worst = u
		}
	}
	if worst == nil {
		return nil
	}
	return failure.Refuse(o.name, "may change while it is read: %s", o.wayToStill(*worst), o.describe(*worst))
}

// severity says which of several uses is to be told of: what surely writes before what
// only may.
func severity(kind inuse.UseKind) int {
	switch kind {
	case inuse.MountedRW, inuse.Swap, inuse.Member:
		return 2
	case inuse.Opened, inuse.Unseen, inuse.Locked, inuse.Exported:
		return 1
	}
	return 0
}

func (o *opener) wayToStill(u inuse.Use) string {
	switch u.Kind {
	case inuse.MountedRW, inuse.Member:
		return "unmount it or mount it read-only, copy a snapshot of it (lvcreate -s), freeze it for a short copy (copy --freeze), " + liveWay
	case inuse.Held:
		return o.wayOutOfUse(u) + ", copy that instead, " + liveWay
	}
	return o.wayOutOfUse(u) + ", " + liveWay
}

// refuseUsed refuses a destination that somebody else relies on.
func (o *opener) refuseUsed() error {
	readOnly, err := o.readOnly()
	if err != nil {
		return o.refuseUnopened(err)
	}
	if readOnly {
		return failure.Refuse(o.name, "is read-only", "make it writable first (blockdev --setrw, lvchange --permission rw)")
	}
	uses, err := o.uses()
	if err != nil {
		return err
	}
	if err := o.refuseOutput(uses); err != nil {
		return err
	}
	if len(uses) > 0 {
		return failure.Refuse(o.name, "is in use: %s", o.wayOutOfUse(uses[0]), o.describe(uses[0]))
	}
	return nil
}

// readOnly tells whether the device is set so. If it was not read as a whole, that may be
// what was not.
func (o *opener) readOnly() (bool, error) {
	if o.facts == nil || o.facts.Unread == "" {
		return o.facts != nil && o.facts.ReadOnly, nil
	}
	f, err := blockio.OpenDevice(o.path, o.facts.Dev.Major, o.facts.Dev.Minor, blockio.Buffered)
	if err != nil {
		return false, err
	}
	readOnly, err := f.ReadOnly()
	return readOnly, errors.Join(err, f.Close())
}

// describe says who uses the device or file, for people.
func (o *opener) describe(u inuse.Use) string {
	subject := "it"
	if !u.Dev.IsZero() && u.Dev != o.deviceFacts().Dev {
		subject = u.Name
	}
	switch u.Path {
	case "":
	case u.Name:
		subject += ", another path to it,"
	default:
		subject += " (by " + u.Path + ", another path to it)"
	}
	if u.Kind == inuse.Held || u.Kind == inuse.HeldRO {
		u.Detail = o.mappedName(u.Detail)
	}
	return describeAs(subject, u)
}

// describeAs says so of what is called like that.
func describeAs(subject string, u inuse.Use) string {
	switch u.Kind {
	case inuse.Held, inuse.HeldRO:
		return u.Detail + " is made of " + subject
	case inuse.Stored, inuse.StoredRO:
		return subject + " is the storage of " + u.Detail
	case inuse.Member:
		return subject + " belongs to a file system (" + u.Detail + ")"
	case inuse.Swap:
		return subject + " is swap space"
	case inuse.Exported:
		return subject + " is exported by " + u.Detail
	case inuse.Opened:
		return u.Detail + " has " + subject + " open for writing"
	case inuse.Output:
		return "the " + u.Detail + " of this program goes to " + subject
	case inuse.Unseen:
		return u.Detail + " has " + subject + " open for writing: another namespace of processes, a target of the kernel, or a process that has mapped it or was just handed it"
	case inuse.Locked, inuse.LockedRO:
		return u.Detail + " has " + subject + " " + string(u.Kind) + " (flock)"
	}
	return subject + " is " + string(u.Kind) + " on " + u.Detail
}

// deviceFacts are the facts of the device; of a file they are zero.
func (o *opener) deviceFacts() sysblock.Facts {
	if o.facts == nil {
		return sysblock.Facts{}
	}
	return *o.facts
}

// mappedName adds the name of device-mapper to the kernel's name, if there is
// one.
func (o *opener) mappedName(name string) string {
	text, err := o.sys.Root().Class("block", name).Text("dm/name")
	if err != nil {
		return name
	}
	return name + " (" + text + ")"
}

func (o *opener) wayOutOfUse(u inuse.Use) string {
	if u.LVM {
		return "wait until that command of LVM has ended"
	}
	switch u.Kind {
	case inuse.MountedRW, inuse.MountedRO, inuse.Member:
		return "unmount it first"
	case inuse.Swap:
		return "run swapoff first"
	case inuse.Exported:
		return "take it out of the configuration of that target first"
	case inuse.Opened, inuse.Locked, inuse.LockedRO:
		return "end that process first"
	case inuse.Unseen:
		return "look for it in containers, among the targets of this machine, and with: grep -l NAME /proc/*/maps"
	case inuse.Stored, inuse.StoredRO:
		return fmt.Sprintf("name /dev/%[1]s instead, unless that is the other end, or run: losetup --detach /dev/%[1]s", u.Detail)
	}
	return "deactivate what is made of it first"
}

// uses lists who uses the device or the file. Without /sys nobody shows who has built on
// either.
func (o *opener) uses() (uses []inuse.Use, err error) {
	if err := refuseWithoutSys(o.sys, o.name); err != nil {
		return nil, err
	}
	if o.facts == nil {
		uses, err = inuse.FileUsers(o.sys, o.path, o.id)
	} else {
		uses, err = inuse.Users(o.sys, o.facts.Dev)
	}
	return uses, failure.During("open", err)
}
