package bcache

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// tries is how often a device is read until it was the same twice.
const tries = 10

// Read reads a device. Its files are read one by one, so all of them are read
// until they say the same twice in a row. If the device vanishes meanwhile, or
// its number is given to another one, the error is sysfs.ErrGone.
func Read(root sysfs.Root, dev remap.Dev) (*Device, error) {
	var before *Device
	for range tries {
		d, err := readOnce(root, dev)
		if err != nil {
			return nil, err
		}
		if before != nil && before.Print() == d.Print() {
			return d, nil
		}
		before = d
	}
	return nil, sysfs.About(dev.String(), ErrUnsteady)
}

// State is what tells whether a device is still the one that was read.
type State struct {
	// Print is that of [Device.Print].
	Print remap.Fingerprint
	// Transition is that of [Device.Transition].
	Transition string
}

// ReadState reads what State is made of, once: for the times between the
// windows of a copy.
func ReadState(root sysfs.Root, dev remap.Dev) (State, error) {
	d, err := readOnce(root, dev)
	if err != nil {
		return State{}, err
	}
	return State{d.Print(), d.Transition()}, nil
}

// readOnce reads each file once.
func readOnce(root sysfs.Root, dev remap.Dev) (*Device, error) {
	disk, err := root.Find(dev)
	if sysfs.Vanished(err) {
		return nil, sysfs.About(dev.String(), sysfs.ErrGone)
	}
	if err != nil {
		return nil, sysfs.About(dev.String(), err)
	}
	d, err := readDisk(dev, disk)
	subject := dev.String() + " (" + disk.Name() + ")"
	switch {
	case root.Left(dev, disk):
		return nil, sysfs.About(subject, sysfs.ErrGone)
	case err != nil:
		return nil, sysfs.About(subject, err)
	}
	return d, nil
}

// readDisk reads the directory of a disk. Its link bcache leads to a directory
// of the backing device; that of a volume in a cache is its own
// (drivers/md/bcache/super.c, bch_cached_dev_run and flash_dev_run).
func readDisk(dev remap.Dev, disk sysfs.Dir) (*Device, error) {
	d := &Device{Dev: dev, Name: disk.Name(), Attrs: make(map[string]string)}
	link, err := filepath.EvalSymlinks(disk.Path("bcache"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBcache
	}
	if err != nil {
		return nil, err
	}
	if d.Size, err = disk.Sectors("size"); err != nil {
		return nil, err
	}
	if d.Lower, err = disk.Devs("slaves"); err != nil {
		return nil, err
	}
	dir, owner := sysfs.Dir(link), sysfs.Dir(filepath.Dir(link))
	if owner == disk {
		return d, nil
	}
	d.Backing = &Backing{Name: owner.Name()}
	if d.Backing.Dev, err = owner.Dev("dev"); err != nil {
		return nil, err
	}
	if d.Backing.Size, err = owner.Sectors("size"); err != nil {
		return nil, err
	}
	for _, attr := range attrs {
		if d.Attrs[attr], err = dir.Text(attr); err != nil {
			return nil, err
		}
	}
	d.Attached, err = dir.Has("cache")
	return d, err
}
