package mdraid

import (
	"errors"
	"io/fs"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// FS is the directory that has sys below it. The empty FS is the root of this
// machine.
type FS = sysfs.Root

// readAttrs reads files of a directory into a map. Optional ones that do not exist are
// left out.
func readAttrs(d sysfs.Dir, into map[string]string, list []attribute) error {
	for _, attr := range list {
		text, err := d.Text(attr.name)
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
