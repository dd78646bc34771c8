package freeze

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// The requests of include/uapi/linux/fs.h: _IOWR('X', 119, int) and 120. Neither
// looks at its argument (fs/ioctl.c, ioctl_fsfreeze).
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// FileSystem is a file system by one of its mounts, which is kept open.
type FileSystem struct {
	dir   *os.File
	point string
	dev   remap.Dev
}

// Open opens the file system that is mounted at point, if dev is the number that
// its files report. However often it is mounted, it is one.
func Open(point string, dev remap.Dev) (*FileSystem, error) {
	dir, err := os.OpenFile(point, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", point, errnoOf(err))
	}
	var st unix.Stat_t
	err = unix.Fstat(int(dir.Fd()), &st)
	if err == nil && (unix.Major(st.Dev) != dev.Major || unix.Minor(st.Dev) != dev.Minor) {
		err = errCovered
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("open %s: %w", point, err)
	}
	return &FileSystem{dir, point, dev}, nil
}

// Point is where it is mounted.
func (f *FileSystem) Point() string { return f.point }

// Dev is the number that its files report.
func (f *FileSystem) Dev() remap.Dev { return f.dev }

// Close lets the mount go. What was frozen stays so until its Thaw.
func (f *FileSystem) Close() error { return f.dir.Close() }

// freezer is what the helper calls to freeze and to thaw.
type freezer interface {
	freeze() error
	thaw() error
}

// descriptor is any open file of the file system.
type descriptor int

// freeze writes back first what can be written back while nobody has to wait for it.
func (d descriptor) freeze() error {
	if err := unix.Syncfs(int(d)); err != nil {
		return err
	}
	return unix.IoctlSetInt(int(d), fiFreeze, 0)
}

func (d descriptor) thaw() error { return unix.IoctlSetInt(int(d), fiThaw, 0) }
