package mdraid

import (
	"errors"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// What can be wrong besides the errnos of the kernel. They arrive wrapped in an [Error].
var (
	// ErrGone: the array is gone, or its number was given to another one.
	ErrGone = errors.New("array is gone")
	// ErrNotArray: the device is not an md array.
	ErrNotArray = errors.New("not an md array")
	// ErrUnsteady: the array changes faster than it can be read.
	ErrUnsteady = errors.New("array keeps changing")
	// ErrBadArray: a stored array that no kernel can have described.
	ErrBadArray = errors.New("impossible array")
	// ErrNoSuper: there is no superblock.
	ErrNoSuper = errors.New("no superblock")
	// ErrBadSuper: a superblock that md would not accept either.
	ErrBadSuper = errors.New("impossible superblock")
	// ErrDiffers: a superblock says something else than sysfs.
	ErrDiffers = errors.New("superblock and sysfs differ")
)

// Error tells which file or device an error is about: its Subject. It unwraps to a sentinel or an errno.
type Error = sysfs.Error
