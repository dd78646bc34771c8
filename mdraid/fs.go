package mdraid

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/remap"
)

// FS is the directory that has sys below it. The empty FS is the root of this
// machine.
type FS string

func (f FS) path(elem ...string) string {
	return filepath.Join("/", string(f), filepath.Join(elem...))
}

// dir is a directory of sysfs.
type dir string

func (d dir) path(name string) string { return filepath.Join(string(d), name) }

// text reads a file without the newline at its end.
func (d dir) text(name string) (string, error) {
	b, err := os.ReadFile(d.path(name))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// attrs reads files into a map. Optional ones that do not exist are left out.
func (d dir) attrs(into map[string]string, list []attribute) error {
	for _, attr := range list {
		text, err := d.text(attr.name)
		if attr.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		into[attr.name] = text
	}
	return nil
}

// dev reads a file that holds a device number.
func (d dir) dev(name string) (remap.Dev, error) {
	text, err := d.text(name)
	if err != nil {
		return remap.Dev{}, err
	}
	dev, err := remap.ParseDev(text)
	if err != nil {
		return remap.Dev{}, &Error{d.path(name), err}
	}
	return dev, nil
}

// vanished tells whether an error is what reading sysfs gives when a device or
// a member is removed at the same time.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}
