package sysblock

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// What can be wrong. They arrive wrapped in an [Error].
var (
	// ErrGone: there is no such device (any more).
	ErrGone = sysfs.ErrGone
	// ErrValue: a file does not hold what the kernel documents.
	ErrValue = sysfs.ErrValue
	// ErrNotFound: a name means nothing here.
	ErrNotFound = errors.New("no such device")
	// ErrAmbiguous: a name means several things.
	ErrAmbiguous = errors.New("name is ambiguous")
	// ErrNotBlock: a name means something that is not a block device.
	ErrNotBlock = errors.New("not a block device")
	// ErrRegularFile: a name means a regular file. It is an ErrNotBlock.
	ErrRegularFile = fmt.Errorf("%w but a regular file", ErrNotBlock)
)

// Error tells which file, device or name an error is about.
type Error = sysfs.Error
