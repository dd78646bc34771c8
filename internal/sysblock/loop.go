package sysblock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// LoopFile is the storage of a loop device.
type LoopFile struct {
	// File is the path of the backing file, as the kernel spells it: it may be
	// deleted, or of another mount namespace.
	File string `json:"file"`
	// Offset is where the device begins in it, Limit how much of it the device
	// shows, 0 for all; both in bytes.
	Offset uint64 `json:"offset"`
	Limit  uint64 `json:"limit,omitempty"`
	// ID tells one file from another whatever its path, and is that of package
	// blockio: "file:MAJOR:MINOR:INODE", or "block:MAJOR:MINOR" of a block device.
	// It is empty where the device cannot be opened to ask it.
	ID string `json:"id,omitempty"`
	// Encrypted tells of the cryptoloop of kernels before 5.16.
	Encrypted bool `json:"encrypted,omitempty"`
	// Block is the block device that is the backing file, if it is one.
	Block *remap.Dev `json:"block,omitempty"`
}

// Storage is where the device lies in its file.
func (l *LoopFile) Storage() *remap.Storage {
	return &remap.Storage{
		ID: l.ID, Name: l.File, Start: remap.Sector(l.Offset / remap.SectorSize), Ragged: l.Offset%remap.SectorSize != 0,
		Transformed: l.Encrypted,
	}
}

// Check finds what no kernel can have described.
func (l *LoopFile) Check() error {
	if l.File == "" || len(l.File) > unix.PathMax || l.Offset > uint64(remap.MaxSectors.Bytes()) {
		return fmt.Errorf("%w: file of %d bytes, from byte %d on", ErrValue, len(l.File), l.Offset)
	}
	return nil
}

// Note says for people what is behind the device, and what follows from it.
func (l *LoopFile) Note() string {
	what := fmt.Sprintf("stored in %q", l.File)
	if l.Offset > 0 {
		what += fmt.Sprintf(" from byte %d on", l.Offset)
	}
	if l.Limit > 0 {
		what += fmt.Sprintf(", %d bytes of it", l.Limit)
	}
	if l.Block != nil {
		return what + ": dmcopy copies it through the host; name that device instead"
	}
	return what + ": if the file system shares blocks between files, dmcopy does so to copy from it, and with --hold=trust to copy onto it"
}

// LoopFile reads what is behind a loop device; nil for one that has no file.
func (f FS) LoopFile(facts *Facts) (*LoopFile, error) {
	l, err := f.loopFile(facts)
	switch {
	case sysfs.Vanished(err):
		return nil, sysfs.Named(facts.Dev, facts.Name, ErrGone)
	case err != nil:
		return nil, sysfs.Named(facts.Dev, facts.Name, err)
	}
	return l, nil
}

func (f FS) loopFile(facts *Facts) (*LoopFile, error) {
	d := f.Root().Block(facts.Dev)
	bound, err := d.Has("loop/backing_file")
	if err != nil || !bound {
		return nil, err
	}
	l := &LoopFile{}
	if l.File, err = d.Text("loop/backing_file"); err != nil {
		return nil, err
	}
	if l.Offset, err = d.Number("loop/offset", 64); err != nil {
		return nil, err
	}
	if l.Limit, err = d.Number("loop/sizelimit", 64); err != nil {
		return nil, err
	}
	if err := l.Check(); err != nil {
		return nil, sysfs.About(d.Path("loop"), err)
	}
	return l, l.identify(f.Device(facts.Name), facts.Dev)
}

// identify asks the device which file it has (drivers/block/loop.c,
// loop_get_status). Who may not open it does not get to know.
func (l *LoopFile) identify(path string, dev remap.Dev) error {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	err = l.ask(int(file.Fd()), dev)
	return errors.Join(err, file.Close())
}

func (l *LoopFile) ask(fd int, dev remap.Dev) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK || sysfs.DevOf(st.Rdev) != dev {
		return ErrGone
	}
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err != nil {
		return err
	}
	if info.Offset != l.Offset || info.Sizelimit != l.Limit {
		return ErrGone // it was given another file meanwhile
	}
	l.Encrypted = info.Encrypt_type != 0
	l.ID = sysfs.FileID(sysfs.DevOf(info.Device), info.Inode)
	// For regular files this is the file system again, or 0.
	if info.Rdevice != 0 && info.Rdevice != info.Device {
		block := sysfs.DevOf(info.Rdevice)
		l.ID, l.Block = sysfs.BlockID(block), &block
	}
	return nil
}
