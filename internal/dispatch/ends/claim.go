package ends

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// claims are the devices that the ends of a copy have opened exclusively. Whoever
// mounts a device, builds another one of it or makes it swap space does the same first, and the
// kernel lets only one do it, on a disk or on partitions of it (block/bdev.c,
// bd_may_claim). Both ends of a copy share them, because one can be a part of the other.
type claims struct {
	sys sysblock.FS

	mu    sync.Mutex
	ends  int
	files map[remap.Dev]*claim
}

// claim is one device that is claimed.
type claim struct {
	*blockio.File
	parent remap.Dev // of a partition
}

const (
	// claimPatience is for those who claim a device for a moment, to look at it or to read
	// its partition table, as udev has them do after each change.
	claimPatience = time.Second
	claimPause    = 50 * time.Millisecond

	// readMark is where a claim of a source is marked as one (the place spells "dmcopy"), so
	// that one source can be copied by several at a time.
	readMark = 0x646d636f7079
)

// claimError tells which device cannot be claimed.
type claimError struct {
	name string
	path string // the other path that it is, or is a part of; "" for the device itself
	err  error
}

func (e *claimError) Error() string { return "claim " + e.name + ": " + e.err.Error() }

func (e *claimError) Unwrap() error { return e.err }

// share is for another end; of nil, for a first one.
func (c *claims) share(sys sysblock.FS) *claims {
	if c == nil {
		c = &claims{sys: sys, files: make(map[remap.Dev]*claim)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends++
	return c
}

// Close lets go of everything when the last end is closed.
func (c *claims) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends--; c.ends > 0 {
		return nil
	}
	var errs []error
	for dev, file := range c.files {
		errs = append(errs, file.Close())
		delete(c.files, dev)
	}
	return errors.Join(errs...)
}

// unused claims a device that nobody else may use, and all paths to it.
func (c *claims) unused(ctx context.Context, facts *sysblock.Facts) error {
	return c.claim(ctx, facts, func(f *sysblock.Facts) error { return c.take(f, false) })
}

// still claims a device that nobody else may write to, and all paths to it: all that is
// not claimed by somebody who is known to read only.
func (c *claims) still(ctx context.Context, facts *sysblock.Facts) error {
	return c.claim(ctx, facts, c.takeStill)
}

func (c *claims) claim(ctx context.Context, facts *sysblock.Facts, take func(*sysblock.Facts) error) error {
	patient := func(f *sysblock.Facts) error {
		return c.retry(ctx, func() error { return take(f) })
	}
	if err := patient(facts); err != nil {
		return err
	}
	return c.otherPaths(facts, patient)
}

// otherPaths claims what is taken for the same part of the same disk.
func (c *claims) otherPaths(facts *sysblock.Facts, take func(*sysblock.Facts) error) error {
	paths, err := c.sys.OtherPaths(facts)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if facts.Part == nil {
			path.Parts = []remap.Dev{path.Disk}
		}
		for _, dev := range path.Parts {
			part, err := c.sys.Facts(dev)
			if err != nil {
				return err
			}
			var e *claimError
			err = take(part)
			if errors.As(err, &e) {
				e.path = path.Name
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// retry tries to take the device until nobody else has it, or until patience ends.
func (c *claims) retry(ctx context.Context, take func() error) error {
	for began := time.Now(); ; {
		err := take()
		if !errors.Is(err, unix.EBUSY) || time.Since(began) > claimPatience {
			return err
		}
		select {
		case <-ctx.Done():
			return failure.Interrupted(ctx)
		case <-time.After(claimPause):
		}
	}
}

// take claims a device. The claim of a disk takes the place of those of its partitions.
func (c *claims) take(facts *sysblock.Facts, toRead bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	parent := parentOf(facts)
	for _, dev := range []remap.Dev{facts.Dev, parent} {
		if has := c.files[dev]; has != nil && toRead {
			return nil
		} else if has != nil {
			return has.Locks().Unmark(readMark)
		}
	}
	for dev, file := range c.files {
		if file.parent == facts.Dev {
			delete(c.files, dev)
			if err := file.Close(); err != nil {
				return err
			}
		}
	}
	file, err := blockio.OpenDevice(facts.Path(), facts.Dev.Major, facts.Dev.Minor, blockio.Exclusive)
	if err != nil {
		return &claimError{name: facts.Name, err: err}
	}
	if toRead {
		if err := file.Locks().Mark(readMark); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	c.files[facts.Dev] = &claim{file, parent}
	return nil
}

// parentOf is the disk that a partition is of; zero for a disk.
func parentOf(facts *sysblock.Facts) remap.Dev {
	if facts.Part == nil {
		return remap.Dev{}
	}
	return facts.Part.Parent
}

// takeStill claims a device, or finds that whoever has claimed it only reads. Where
// somebody has claimed a partition of a disk, the others are claimed one by one.
func (c *claims) takeStill(facts *sysblock.Facts) error {
	busy := c.take(facts, true)
	if !errors.Is(busy, unix.EBUSY) {
		return busy
	}
	for _, known := range []func(*sysblock.Facts) (bool, error){c.usedToRead, c.readByOthers} {
		if found, err := known(facts); found || err != nil {
			return err
		}
	}
	parts, err := c.sys.Partitions(facts)
	if err != nil {
		return err
	}
	still, errs := 0, []error(nil)
	for _, dev := range parts {
		part, err := c.sys.Facts(dev)
		if err == nil {
			err = c.takeStill(part)
		}
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err == nil {
			still++
		}
		errs = append(errs, err)
	}
	if still == 0 { // it is the disk that somebody has claimed
		return busy
	}
	return errors.Join(errs...)
}

// usedToRead tells whether the device, or the disk that it is a part of, is claimed
// by somebody who shows and does not write.
func (c *claims) usedToRead(facts *sysblock.Facts) (bool, error) {
	uses, err := inuse.Users(c.sys, facts.Dev)
	if err != nil {
		return false, err
	}
	for _, u := range uses {
		itself := u.Path == "" && (u.Dev == facts.Dev || u.Dev == parentOf(facts))
		if itself && (u.Kind == inuse.MountedRO || u.Kind == inuse.HeldRO) {
			return true, nil
		}
	}
	return false, nil
}

// readByOthers tells whether another copy has claimed the device, or the disk that it
// is a part of, as its source.
func (c *claims) readByOthers(facts *sysblock.Facts) (bool, error) {
	if read, err := isMarked(facts); read || err != nil || facts.Part == nil {
		return read, err
	}
	disk, err := c.sys.Facts(facts.Part.Parent)
	if err != nil {
		return false, err
	}
	return isMarked(disk)
}

func isMarked(facts *sysblock.Facts) (bool, error) {
	file, err := blockio.OpenDevice(facts.Path(), facts.Dev.Major, facts.Dev.Minor, 0)
	if err != nil {
		return false, err
	}
	marked, err := file.Locks().Marked(readMark)
	return marked, errors.Join(err, file.Close())
}

func isReplaced(err error) bool { return errors.Is(err, blockio.ErrReplaced) }
