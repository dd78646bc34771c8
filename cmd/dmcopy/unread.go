package main

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// unreadableEnd says which end has sectors that fail, as it was named, and what can be
// done about it.
func unreadableEnd(err error, job dispatch.Job) error {
	var failed *emulation.Error
	if !errors.As(err, &failed) || !emulation.IsMediaError(failed) || errors.Is(err, failure.ErrUnread) {
		return err
	}
	name := job.Src.Name
	if failed.Device == job.Dst.Device.Name() {
		name = job.Dst.Name
	}
	switch failed.Op {
	case "write":
		return fmt.Errorf("%s cannot be written to everywhere: check its disks (dmesg has more): %w", shown(name), err)
	case "read":
		return fmt.Errorf("%s cannot be read everywhere: dmcopy copy has the rest with --on-error=continue, which writes zeroes instead, and lists where: %w", shown(name), err)
	}
	return err
}
