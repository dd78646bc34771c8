package watch

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// mapper is the global event counter of device-mapper. What it counts is told to
// no device, and so concerns every scope that has a mapped one.
type mapper struct{ *dmtable.Events }

// openMapper does not open what would load device-mapper.
func openMapper(root sysfs.Root) (source, error) {
	if there := root.Path("sys/class/misc/device-mapper"); !exists(there) {
		return nil, &fs.PathError{Op: "open", Path: there, Err: fs.ErrNotExist}
	}
	events, err := dmtable.OpenEvents()
	if err != nil {
		return nil, err
	}
	return &mapper{events}, nil
}

func (m *mapper) name() string { return "device-mapper" }

func (m *mapper) poll() unix.PollFd { return unix.PollFd{Fd: int32(m.FD()), Events: unix.POLLIN} }

func (m *mapper) event(s scope) (bool, error) { return s.mapped, m.Arm() }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
