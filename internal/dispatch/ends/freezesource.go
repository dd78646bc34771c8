package ends

import (
	"context"
	"errors"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"golang.org/x/sys/unix"
)

// Frozen is a source that stands still.
type Frozen interface {
	// Over is closed when it stands still no longer.
	Over() <-chan struct{}
	// Thaw ends it. There is no error only if it has stood still until now.
	Thaw() error
}

// FreezeSource freezes the file system that the source was opened with, for at most
// limit. What cannot be frozen is a [Refusal].
func FreezeSource(src Endpoint, limit time.Duration) func(context.Context) (Frozen, error) {
	return func(ctx context.Context) (Frozen, error) {
		frozen, err := src.mounted.Freeze(ctx, limit)
		if err != nil {
			return nil, refuseFreezing(src, err)
		}
		return frozen, nil
	}
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
