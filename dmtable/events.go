package dmtable

import (
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Events are the global events of device-mapper: each table swap, rename and
// removal, and whatever targets report (drivers/md/dm.c, dm_issue_global_event).
// Which device it was is not told. That nothing came proves nothing.
type Events struct{ control control }

// OpenEvents opens /dev/mapper/control once more, because what was seen of the
// events is kept with the open file (drivers/md/dm-ioctl.c, struct dm_file). They
// count from now on.
func OpenEvents() (*Events, error) {
	c, err := openControl()
	if err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	return &Events{c}, nil
}

// FD is what becomes readable with the next event, and stays so until Arm.
func (e *Events) FD() int { return int(e.control.file.Fd()) }

// Arm makes what has come until now no event any more.
func (e *Events) Arm() error {
	buf := make([]byte, sizeofHeader)
	putRequest(buf, 0, remap.Dev{})
	if err := e.control.Ioctl(unix.DM_DEV_ARM_POLL, buf); err != nil {
		return &Error{Op: "events", Err: err}
	}
	return nil
}

// Close closes the file.
func (e *Events) Close() error { return e.control.Close() }
