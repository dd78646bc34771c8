package ends

import (
	"context"
	"errors"

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

// claimStill refuses a source that may change while it is read, and claims it.
func (o *opener) claimStill(ctx context.Context, c *claims) error {
	if err := o.refuseLive(); err != nil || o.facts == nil {
		return err
	}
	if err := (sharing{o}).refuseSource(ctx); err != nil {
		return err
	}
	err := c.still(ctx, o.facts)
	if errors.Is(err, unix.EBUSY) {
		// Who came in between has a name.
		if err := o.refuseLive(); err != nil {
			return err
		}
		who, way := o.holder(err)
		return failure.Refuse(o.name, "may change while it is read: %s", way+"; "+liveWay, who)
	}
	return o.refuseUnclaimed(err)
}

// claimUnused refuses a destination that somebody relies on, and claims it.
func (o *opener) claimUnused(ctx context.Context, c *claims) error {
	if err := o.refuseUsed(); err != nil || o.facts == nil {
		return err
	}
	if err := (sharing{o}).refuseDestination(ctx); err != nil {
		return err
	}
	err := c.unused(ctx, o.facts)
	if errors.Is(err, unix.EBUSY) {
		if err := o.refuseUsed(); err != nil {
			return err
		}
		who, way := o.holder(err)
		return failure.Refuse(o.name, "is in use: %s", way, who)
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
	return failure.Refuse(o.name, "may change while it is read: %s", wayToStill(*worst), o.describe(*worst))
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
		return failure.Refuse(o.name, "is in use: %s", wayOutOfUse(uses[0]), o.describe(uses[0]))
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
