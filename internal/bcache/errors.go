package bcache

import "errors"

// What can be wrong besides what [sysfs] knows. They arrive wrapped in a [sysfs.Error].
var (
	// ErrNotBcache: the device is no bcache device.
	ErrNotBcache = errors.New("not a bcache device")
	// ErrUnsteady: the device changes faster than it can be read.
	ErrUnsteady = errors.New("bcache device keeps changing")
	// errBadDevice: a stored device that no kernel can have described.
	errBadDevice = errors.New("impossible bcache device")
	// errBadSuper: a superblock that bcache would not accept either, or one that is not known.
	errBadSuper = errors.New("impossible superblock of bcache")
)
