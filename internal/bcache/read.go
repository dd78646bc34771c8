package bcache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/remap"
)

// FS is the directory that has sys below it. The empty FS is the root of this
// machine.
type FS string

// tries is how often a device is read until it was the same twice.
const tries = 10

// Read reads a device. Its files are read one by one, so all of them are read
// until they say the same twice in a row. If the device vanishes meanwhile, or
// its number is given to another one, the error is ErrGone.
func Read(root FS, dev remap.Dev) (*Device, error) {
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
	return nil, &Error{dev.String(), ErrUnsteady}
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
func ReadState(root FS, dev remap.Dev) (State, error) {
	d, err := readOnce(root, dev)
	if err != nil {
		return State{}, err
	}
	return State{d.Print(), d.Transition()}, nil
}

// readOnce reads each file once.
func readOnce(root FS, dev remap.Dev) (*Device, error) {
	link := filepath.Join("/", string(root), "sys/dev/block", dev.String())
	disk, err := filepath.EvalSymlinks(link)
	if vanished(err) {
		return nil, &Error{dev.String(), ErrGone}
	}
	if err != nil {
		return nil, &Error{dev.String(), err}
	}
	d, err := readDisk(dev, disk)
	now, nowErr := filepath.EvalSymlinks(link)
	subject := dev.String() + " (" + filepath.Base(disk) + ")"
	switch {
	case nowErr != nil && vanished(nowErr), nowErr == nil && now != disk:
		return nil, &Error{subject, ErrGone}
	case err != nil:
		return nil, &Error{subject, err}
	}
	return d, nil
}

// readDisk reads the directory of a disk. Its link bcache leads to a directory
// of the backing device; that of a volume in a cache is its own
// (drivers/md/bcache/super.c, bch_cached_dev_run and flash_dev_run).
func readDisk(dev remap.Dev, disk string) (*Device, error) {
	d := &Device{Dev: dev, Name: filepath.Base(disk), Attrs: make(map[string]string)}
	dir, err := filepath.EvalSymlinks(filepath.Join(disk, "bcache"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBcache
	}
	if err != nil {
		return nil, err
	}
	if d.Size, err = sectors(disk); err != nil {
		return nil, err
	}
	if d.Lower, err = slaves(disk); err != nil {
		return nil, err
	}
	owner := filepath.Dir(dir)
	if owner == disk {
		return d, nil
	}
	d.Backing = &Backing{Name: filepath.Base(owner)}
	if d.Backing.Dev, err = number(owner); err != nil {
		return nil, err
	}
	if d.Backing.Size, err = sectors(owner); err != nil {
		return nil, err
	}
	for _, attr := range attrs {
		if d.Attrs[attr], err = text(dir, attr); err != nil {
			return nil, err
		}
	}
	switch _, err = os.Lstat(filepath.Join(dir, "cache")); {
	case err == nil:
		d.Attached = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return d, nil
}

// text reads a file without the newline at its end.
func text(dir, attr string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, attr))
	return strings.TrimSuffix(string(b), "\n"), err
}

// sectors reads the capacity of a device.
func sectors(dir string) (remap.Sector, error) {
	s, err := text(dir, "size")
	if err != nil {
		return 0, err
	}
	n, err := remap.ParseSector(s)
	if err != nil {
		return 0, &Error{filepath.Join(dir, "size"), err}
	}
	return n, nil
}

// number reads the number of a device.
func number(dir string) (remap.Dev, error) {
	s, err := text(dir, "dev")
	if err != nil {
		return remap.Dev{}, err
	}
	dev, err := remap.ParseDev(s)
	if err != nil {
		return remap.Dev{}, &Error{filepath.Join(dir, "dev"), err}
	}
	return dev, nil
}

// slaves lists what a disk is made of, in order of number. A link that is gone when its turn comes
// is none any more.
func slaves(disk string) ([]remap.Dev, error) {
	entries, err := os.ReadDir(filepath.Join(disk, "slaves"))
	if err != nil {
		return nil, err
	}
	var lower []remap.Dev
	for _, entry := range entries {
		dev, err := number(filepath.Join(disk, "slaves", entry.Name()))
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lower = append(lower, dev)
	}
	slices.SortFunc(lower, func(a, b remap.Dev) int { return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor)) })
	return lower, nil
}

// vanished tells whether an error is what reading sysfs gives when a device is
// removed at the same time.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}
