package sysblock

import (
	"errors"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// OtherPath is a disk that calls itself by the name of another one, and so is taken
// for another path to it.
type OtherPath struct {
	Disk remap.Dev
	Name string // the kernel's
	// Parts are the partitions of it that share sectors with the one asked about.
	Parts []remap.Dev
}

// OtherPaths lists them for a disk or a partition. Where a driver joins paths into one
// device, there are none (NVMe), or that device holds all of them (device-mapper).
func (f FS) OtherPaths(facts *Facts) ([]OtherPath, error) {
	disk := facts
	if facts.Part != nil {
		var err error
		if disk, err = f.Facts(facts.Part.Parent); err != nil {
			return nil, err
		}
	}
	if err := disk.Related(); err != nil {
		return nil, err
	}
	if disk.Disk == nil || disk.Disk.Identity() == "" {
		return nil, nil
	}
	devs, err := f.Devs()
	if err != nil {
		return nil, err
	}
	var all []OtherPath
	for _, dev := range devs {
		if dev == disk.Dev {
			continue
		}
		same, err := f.isCalled(dev, disk.Disk.Identity(), disk.Size)
		if err != nil {
			return nil, err
		}
		if !same {
			continue
		}
		path, err := f.otherPath(dev, facts)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil:
			return nil, err
		default:
			all = append(all, path)
		}
	}
	return all, nil
}

// isCalled tells whether a device is a whole disk of that name. If its name cannot be read,
// it is none where its size is another one than that of the disk that is looked for, in sectors:
// then it is no concern of that disk. Else who knows.
func (f FS) isCalled(dev remap.Dev, name string, size remap.Sector) (bool, error) {
	d := f.Root().Block(dev)
	if part, err := d.Has("partition"); err != nil || part {
		return false, err
	}
	var names Disk
	err := names.readNames(d)
	if sysfs.Vanished(err) {
		return false, nil
	}
	if err != nil {
		if its, unsized := d.Sectors("size"); unsized == nil && its != size {
			return false, nil
		}
		return false, sysfs.About(dev.String(), err)
	}
	return names.Identity() == name, nil
}

func (f FS) otherPath(other remap.Dev, facts *Facts) (OtherPath, error) {
	disk, err := f.Facts(other)
	if err != nil {
		return OtherPath{}, err
	}
	path := OtherPath{Disk: other, Name: disk.Name}
	if facts.Part == nil {
		return path, nil
	}
	parts, err := f.Partitions(disk)
	if err != nil {
		return path, err
	}
	for _, dev := range parts {
		part, err := f.Facts(dev)
		if err == nil && part.Unread != "" {
			err = sysfs.Named(dev, part.Name, part.Cause())
		}
		if err != nil {
			return path, err
		}
		if part.Part != nil && part.Part.Start < facts.Part.Start+facts.Size && facts.Part.Start < part.Part.Start+part.Size {
			path.Parts = append(path.Parts, dev)
		}
	}
	return path, nil
}
