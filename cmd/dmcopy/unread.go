package main

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// explain says why an end cannot be read or written. Of a snapshot that is lost no sector
// can be read any more: zeroes instead of all of them are no way out.
func (w *world) explain(err error, job dispatch.Job) error {
	if lost := w.lostSnapshot(err, job); lost != err {
		return lost
	}
	return unreadableEnd(err, job)
}

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
		return fmt.Errorf("%s has sectors that cannot be written: check its disks (dmesg has more): %w", shown(name), err)
	case "read":
		return fmt.Errorf("%s has sectors that cannot be read: dmcopy copy --on-error=continue copies everything else, writes zeroes instead of them, and lists them: %w", shown(name), err)
	}
	return err
}
