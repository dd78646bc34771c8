package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// spareFiles is how many files a command has to be able to open besides those that it was begun
// with. A copy can need more, one for each disk. Without a few the runtime aborts
// (runtime/netpoll_epoll.go, netpollinit).
const spareFiles = 32

// refuseStarved refuses to begin without room for files: what was begun may be unable to look
// who uses a device, or to take back what it has made.
func refuseStarved() error {
	var opened []int
	defer func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}()
	for range spareFiles {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if failure.TooManyFiles(err) {
			return failure.RefuseTooManyFiles("dmcopy", err)
		}
		if err != nil {
			return nil // there are none at all, and nothing is known
		}
		opened = append(opened, fd)
	}
	return nil
}

// starved makes a refusal of whatever could not be opened because too many files are, or
// says what to do about it if something was begun.
func starved(err error, begun bool) error {
	code := exitCode(err)
	switch {
	case !failure.TooManyFiles(err), code != exitFailed && code != exitUsage:
		return err
	case begun:
		return fmt.Errorf("there are too many open files: %s, and copy again: %w", failure.WayOfTooManyFiles, err)
	}
	return failure.RefuseTooManyFiles("dmcopy", err)
}
