package sysblock

import (
	"fmt"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Identity is the most durable name of a device, for recognising it after the
// machine was booted again: the uuid of device-mapper or of an array, what the
// hardware calls itself, where a partition lies on what. A device that tells
// nothing of itself is called by the kernel's name, which can be another one's
// the next time.
func (f FS) Identity(dev remap.Dev) (string, error) {
	facts, err := f.Facts(dev)
	if err != nil {
		return "", err
	}
	id, err := f.identity(facts)
	if sysfs.Vanished(err) {
		return "", sysfs.Named(dev, facts.Name, ErrGone)
	}
	return id, err
}

func (f FS) identity(facts *Facts) (string, error) {
	d := f.Root().Block(facts.Dev)
	switch {
	case facts.Part != nil:
		parent, err := f.Identity(facts.Part.Parent)
		return fmt.Sprintf("%s partition %d at %d", parent, facts.Part.Number, facts.Part.Start), err
	case facts.Kind == DM:
		return firstOf(d, "dm:", facts, "dm/uuid", "dm/name")
	case facts.Kind == MD:
		return firstOf(d, "md:", facts, "md/uuid")
	case facts.Kind == Loop:
		l, err := f.LoopFile(facts)
		if err != nil || l == nil {
			return "device:" + facts.Name, err
		}
		return fmt.Sprintf("loop:%d+%d:%s", l.Offset, l.Limit, l.File), nil
	case facts.Disk != nil && facts.Disk.Identity() != "":
		return "disk:" + facts.Disk.Identity(), nil
	case facts.Unread != "": // what it calls itself may be what was not read
		return "", sysfs.Named(facts.Dev, facts.Name, facts.Cause())
	}
	return "device:" + facts.Name, nil
}

// firstOf is the first of some attributes that has a value, or else the name of
// the device.
func firstOf(d sysfs.Dir, prefix string, facts *Facts, attrs ...string) (string, error) {
	for _, attr := range attrs {
		value, err := d.Optional(attr)
		if err != nil || value != "" {
			return prefix + value, err
		}
	}
	return "device:" + facts.Name, nil
}
