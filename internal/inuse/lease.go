package inuse

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// openFile is a regular file that is looked at.
type openFile struct {
	*os.File
	dev   remap.Dev // as the file reports it
	inode uint64
	// mounted is the mount that it was found by, 0 if that is not known.
	mounted uint64
}

// openToAsk opens a file to ask for its users, if it still is the one of that ID.
func (p processes) openToAsk(path, id string) (*openFile, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	o := &openFile{file, sysfs.DevOf(st.Dev), st.Ino, p.mountOf("proc/self", int(file.Fd()))}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || sysfs.FileID(o.dev, o.inode) != id {
		return nil, errors.Join(sysfs.About(path, sysblock.ErrGone), file.Close())
	}
	return o, nil
}

// mount is the mount that the file was found by; nil if it is not known.
func (o *openFile) mount(mounts []Mount) *Mount {
	for i := range mounts {
		if mounts[i].ID == o.mounted {
			return &mounts[i]
		}
	}
	return nil
}

// written tells whether anybody at all has the file open for writing: to read it, the
// kernel gives nobody a lease then (fs/locks.c, check_conflicting_open). It counts those who
// have it open, whoever they are and by whatever way they got to it. The lease is given back at
// once. Where leases are not to be had, or a server decides on them, nobody is known.
func (o *openFile) written(mounts []Mount) bool {
	m := o.mount(mounts)
	if m == nil || remote(m.Type) {
		return false
	}
	_, err := unix.FcntlInt(o.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, err = unix.FcntlInt(o.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
