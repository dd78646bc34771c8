package ends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Frozen is a source that stands still.
type Frozen interface {
	// Thawed is closed when it stands still no longer.
	Thawed() <-chan struct{}
	// Thaw ends it. There is no error only if it has stood still until now.
	Thaw() error
}

// FreezeSource freezes the file system that the source was opened with, for at most
// limit. What cannot be frozen is a [Refusal].
func FreezeSource(sys sysblock.FS, src Endpoint, limit time.Duration) func(context.Context) (Frozen, error) {
	return func(ctx context.Context) (Frozen, error) {
		frozen, err := src.mounted.Freeze(ctx, limit)
		if err != nil {
			return nil, refuseFreezing(src, err)
		}
		w := &unwritten{Frozen: frozen, sys: sys, dev: src.Dev}
		if w.before, err = w.written(); err != nil {
			return nil, failure.During("freeze", errors.Join(err, frozen.Thaw()))
		}
		return w, nil
	}
}

// unwritten is a source that nobody may have written to while it stood still. Whoever else thaws it,
// has something written, and freezes it again leaves no other trace: the kernel does not count
// freezes that have ended, but what a file system has written by the end of each (fs/super.c,
// freeze_super) it does.
type unwritten struct {
	Frozen
	sys    sysblock.FS
	dev    remap.Dev
	before uint64
}

// written is how many sectors were written to the device.
func (w *unwritten) written() (uint64, error) {
	s, err := w.sys.IOStat(w.dev)
	return s.Written, err
}

// Thaw implements [Frozen].
func (w *unwritten) Thaw() error {
	now, err := w.written() // before anybody may write again
	thawed := w.Frozen.Thaw()
	if err == nil && now != w.before {
		err = fmt.Errorf("%w, and frozen again: %d sectors were written meanwhile", freeze.ErrThawed, now-w.before)
	}
	return errors.Join(thawed, err)
}

// refuseFreezing explains what the kernel says (fs/ioctl.c, ioctl_fsfreeze).
func refuseFreezing(src Endpoint, err error) error {
	point := src.mounted.Point()
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return failure.Refuse(src.Name, "cannot be frozen: the file system on %s does not support freezing", anotherWay, point)
	case errors.Is(err, unix.EBUSY):
		return failure.Refuse(src.Name, "cannot be frozen: the file system on %s is frozen already",
			"wait for whoever did it, or run: fsfreeze --unfreeze "+point, point)
	case errors.Is(err, unix.EPERM):
		return failure.Refuse(src.Name, "cannot be frozen: permission denied", "run as root")
	}
	return err
}
