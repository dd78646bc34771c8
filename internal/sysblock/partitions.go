package sysblock

import (
	"os"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Name is the kernel's name of a device.
func (f FS) Name(dev remap.Dev) (string, error) {
	d, err := f.Root().Find(dev)
	if err != nil {
		return "", sysfs.About(dev.String(), sysfs.Gone(err))
	}
	return d.Name(), nil
}

// Partitions lists the partitions of a disk.
func (f FS) Partitions(disk *Facts) ([]remap.Dev, error) {
	if disk.Part != nil {
		return nil, nil
	}
	d := f.Root().Block(disk.Dev)
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, sysfs.About(disk.Name, err)
	}
	var parts []remap.Dev
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), disk.Name) {
			continue
		}
		part := sysfs.Dir(d.Path(entry.Name()))
		if is, err := part.Has("partition"); err != nil || !is {
			if err != nil {
				return nil, sysfs.About(disk.Name, err)
			}
			continue
		}
		dev, err := part.Dev("dev")
		if err != nil {
			return nil, sysfs.About(disk.Name, err)
		}
		parts = append(parts, dev)
	}
	sysfs.SortDevs(parts)
	return parts, nil
}
