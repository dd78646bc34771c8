package sysblock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/remap"
)

// FS is the directory that has sys, dev and proc below it. The empty FS is
// the root of this machine.
type FS string

func (f FS) path(elem ...string) string {
	return filepath.Join("/", string(f), filepath.Join(elem...))
}

// DevPath is the node of the device with the kernel's name: "/dev/nvme0n1". A
// "!" in such names stands for a slash (drivers/base/core.c, device_get_devnode).
func DevPath(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// Device is the node below the root of the device with the kernel's name.
func (f FS) Device(name string) string { return f.path(DevPath(name)) }

// dir is the directory of one device in sysfs.
type dir string

func (d dir) path(attr string) string { return filepath.Join(string(d), attr) }

// has tells whether the directory holds such a file or directory.
func (d dir) has(attr string) (bool, error) {
	_, err := os.Lstat(d.path(attr))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// text reads a file of one value, without the newline. The attributes of a mapped
// device that is being removed fail with EINVAL (drivers/md/dm-sysfs.c, dm_attr_show).
func (d dir) text(attr string) (string, error) {
	b, err := os.ReadFile(d.path(attr))
	if errors.Is(err, syscall.EINVAL) && strings.HasPrefix(attr, "dm/") {
		err = &fs.PathError{Op: "read", Path: d.path(attr), Err: syscall.ENODEV}
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\n"), nil
}

// optional reads a file that not every device or kernel has; "" is for none.
func (d dir) optional(attr string) (string, error) {
	s, err := d.text(attr)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(s), err
}

// number reads an unsigned decimal number of at most bits bits.
func (d dir) number(attr string, bits int) (uint64, error) {
	s, err := d.text(attr)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, badValue(d.path(attr), s, "a number")
	}
	return n, nil
}

// sectors reads a position or length, which sysfs counts in 512 bytes.
func (d dir) sectors(attr string) (remap.Sector, error) {
	s, err := d.text(attr)
	if err != nil {
		return 0, err
	}
	n, err := remap.ParseSector(s)
	if err != nil {
		return 0, badValue(d.path(attr), s, "a number of sectors")
	}
	return n, nil
}

// bool reads a file that holds 0 or 1.
func (d dir) bool(attr string) (bool, error) {
	s, err := d.text(attr)
	if err != nil {
		return false, err
	}
	if s != "0" && s != "1" {
		return false, badValue(d.path(attr), s, "0 or 1")
	}
	return s == "1", nil
}

// dev reads a file that holds a device number.
func (d dir) dev(attr string) (remap.Dev, error) {
	s, err := d.text(attr)
	if err != nil {
		return remap.Dev{}, err
	}
	dev, err := remap.ParseDev(s)
	if err != nil {
		return remap.Dev{}, badValue(d.path(attr), s, "a device number")
	}
	return dev, nil
}

// devs reads the device numbers of the block devices that a directory links
// to, such as slaves. A link that is gone when its turn comes is none any more.
func (d dir) devs(attr string) ([]remap.Dev, error) {
	entries, err := os.ReadDir(d.path(attr))
	if err != nil {
		return nil, err
	}
	var devs []remap.Dev
	for _, entry := range entries {
		dev, err := d.dev(filepath.Join(attr, entry.Name(), "dev"))
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		devs = append(devs, dev)
	}
	return devs, nil
}

// vanished tells whether an error is what reading sysfs gives when a device is
// removed at the same time.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}
