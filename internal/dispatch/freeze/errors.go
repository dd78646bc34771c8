package freeze

import "errors"

// What can go wrong besides the errnos of the kernel. It arrives wrapped, with what was tried and where before it.
var (
	// ErrExpired: the time was over, and the file system was thawed.
	ErrExpired = errors.New("the time for it to be frozen was over (--freeze-timeout)")
	// ErrThawed: somebody else has thawed the file system.
	ErrThawed = errors.New("it was thawed by somebody else")
	// errLost: the helper ended before it was told to.
	errLost = errors.New("the process that keeps it frozen has ended")
	// errSlow: a call did not come back in time.
	errSlow = errors.New("it takes too long")
	// errCovered: the mount point leads to another file system.
	errCovered = errors.New("another file system is mounted over it")
)
