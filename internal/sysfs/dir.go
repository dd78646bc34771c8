package sysfs

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/remap"
)

// Dir is a directory of attributes: that of a device, or one below it.
type Dir string

// Path is the path of an attribute.
func (d Dir) Path(attr string) string { return filepath.Join(string(d), attr) }

// Name is the kernel's name of the device that the directory, found without links, is of.
func (d Dir) Name() string { return filepath.Base(string(d)) }

// Has tells whether the directory holds such a file or directory.
func (d Dir) Has(attr string) (bool, error) {
	_, err := os.Lstat(d.Path(attr))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Text reads a file of one value, without the newline. The attributes of a mapped
// device that is being removed fail with EINVAL (drivers/md/dm-sysfs.c, dm_attr_show).
func (d Dir) Text(attr string) (string, error) {
	b, err := os.ReadFile(d.Path(attr))
	if errors.Is(err, syscall.EINVAL) && strings.HasPrefix(attr, "dm/") {
		err = &fs.PathError{Op: "read", Path: d.Path(attr), Err: syscall.ENODEV}
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\n"), nil
}

// Optional reads a file that not every device or kernel has; "" is for none.
func (d Dir) Optional(attr string) (string, error) {
	s, err := d.Text(attr)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(s), err
}

// Number reads an unsigned decimal number of at most bits bits.
func (d Dir) Number(attr string, bits int) (uint64, error) {
	s, err := d.Text(attr)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, BadValue(d.Path(attr), s, "a number")
	}
	return n, nil
}

// Sectors reads a position or length, which sysfs counts in 512 bytes.
func (d Dir) Sectors(attr string) (remap.Sector, error) {
	s, err := d.Text(attr)
	if err != nil {
		return 0, err
	}
	n, err := remap.ParseSector(s)
	if err != nil {
		return 0, BadValue(d.Path(attr), s, "a number of sectors")
	}
	return n, nil
}

// Bool reads a file that holds 0 or 1.
func (d Dir) Bool(attr string) (bool, error) {
	s, err := d.Text(attr)
	if err != nil {
		return false, err
	}
	if s != "0" && s != "1" {
		return false, BadValue(d.Path(attr), s, "0 or 1")
	}
	return s == "1", nil
}

// OneOf reads a file that holds one of a few words.
func (d Dir) OneOf(attr string, words ...string) (string, error) {
	s, err := d.Text(attr)
	if err == nil && !slices.Contains(words, s) {
		err = BadValue(d.Path(attr), s, strings.Join(words, " or "))
	}
	return s, err
}

// Dev reads a file that holds a device number.
func (d Dir) Dev(attr string) (remap.Dev, error) {
	s, err := d.Text(attr)
	if err != nil {
		return remap.Dev{}, err
	}
	dev, err := remap.ParseDev(s)
	if err != nil {
		return remap.Dev{}, BadValue(d.Path(attr), s, "a device number")
	}
	return dev, nil
}

// Devs reads the numbers of the block devices that a directory links to, such as
// slaves, in order. A link that is gone when its turn comes is none any more.
func (d Dir) Devs(attr string) ([]remap.Dev, error) {
	entries, err := os.ReadDir(d.Path(attr))
	if err != nil {
		return nil, err
	}
	var devs []remap.Dev
	for _, entry := range entries {
		dev, err := d.Dev(filepath.Join(attr, entry.Name(), "dev"))
		if Vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		devs = append(devs, dev)
	}
	SortDevs(devs)
	return devs, nil
}

// LinkBase is the last part of what a link points to, "" if there is none.
func (d Dir) LinkBase(attr string) (string, error) {
	target, err := os.Readlink(d.Path(attr))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return filepath.Base(target), err
}

// SortDevs puts devices in order of number.
func SortDevs(devs []remap.Dev) { slices.SortFunc(devs, CompareDevs) }

// CompareDevs orders devices by number.
func CompareDevs(a, b remap.Dev) int {
	return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
}
