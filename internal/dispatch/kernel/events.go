package kernel

import (
	"errors"
	"log/slog"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/layout/watch"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// events are the uevents of disks, of what leads to them, and of all other devices.
type events struct{ *watch.Disks }

// listen has [copydomain.Finder] hear of what happens to disks.
func listen(log *slog.Logger) func() (copydomain.Events, error) {
	return func() (copydomain.Events, error) {
		disks, err := watch.OpenDisks()
		if err != nil {
			log.Debug("disks are not watched: what is known of them ends with each copy", "error", err)
			return nil, err
		}
		return events{disks}, nil
	}
}

// Take implements [copydomain.Events].
func (e events) Take() ([]copydomain.Event, error) {
	changes, err := e.Disks.Take()
	happened := make([]copydomain.Event, 0, len(changes))
	for _, c := range changes {
		happened = append(happened, copydomain.Event(c))
	}
	if errors.Is(err, watch.ErrLost) {
		err = copydomain.ErrEventsLost
	}
	return happened, err
}

// software is what a disk calls its firmware. Files have none.
func software(leaf *remap.Node) (string, error) {
	if leaf.Leaf == nil {
		return "", nil
	}
	return sysblock.FS("").Software(leaf.Dev)
}
