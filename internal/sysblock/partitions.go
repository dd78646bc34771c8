package sysblock

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Name is the kernel's name of a device.
func (f FS) Name(dev remap.Dev) (string, error) {
	d, err := filepath.EvalSymlinks(f.Root().Path("sys/dev/block", dev.String()))
	if err != nil {
		return "", sysfs.About(dev.String(), sysfs.Gone(err))
	}
	return filepath.Base(d), nil
}

// Partitions lists the partitions of a disk.
func (f FS) Partitions(disk *Facts) ([]remap.Dev, error) {
	if disk.Part != nil {
		return nil, nil
	}
	d := f.Root().Path("sys/dev/block", disk.Dev.String())
	entries, err := os.ReadDir(d)
	if err != nil {
		return nil, sysfs.About(disk.Name, err)
	}
	var parts []remap.Dev
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), disk.Name) {
			continue
		}
		part := sysfs.Dir(filepath.Join(d, entry.Name()))
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
