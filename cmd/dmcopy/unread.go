package main

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
)

// explain says why an end cannot be read or written. Of a snapshot that is lost no sector
// can be read any more: zeroes instead of all of them are no way out.
func (w *world) explain(err error, job dispatch.Job, state string) error {
	if lost := w.lostSnapshot(err, job); lost != err {
		return lost
	}
	if small := shrunkEnd(err, job); small != err {
		return small
	}
	return unreadableEnd(noRoom(beyondLimit(err, job), job, state), job)
}

// shrunkEnd says of I/O that failed that the device it went to was made smaller: beyond the
// end of a device, reads are short, and a write finds no room.
func shrunkEnd(err error, job dispatch.Job) error {
	var failed *emulation.Error
	if !errors.As(err, &failed) {
		return err
	}
	for _, end := range []dispatch.Endpoint{job.Src, job.Dst} {
		device, ok := end.Device.(interface{ SizeNow() (int64, error) })
		if !ok || end.Dev.IsZero() {
			continue
		}
		if has, sizeErr := device.SizeNow(); sizeErr == nil && has < end.Device.Size() {
			return fmt.Errorf("%s: %w", plan.Shrunk(end.Name, has, end.Device.Size()), err)
		}
	}
	return err
}

// unreadableEnd says which end has sectors that fail, as it was named, and what can be
// done about it.
func unreadableEnd(err error, job dispatch.Job) error {
	name, ofSource, op := failingEnd(err, job)
	switch {
	case op == "write":
		return fmt.Errorf("%s has sectors that cannot be written: check its disks (dmesg has more): %w", shown(name), err)
	case op == "read" && ofSource:
		return fmt.Errorf("%s has sectors that cannot be read: dmcopy copy --on-error=continue copies everything else, writes zeroes instead of them, and lists them: %w", shown(name), err)
	}
	return uncomparedEnd(err, job)
}

// uncomparedEnd is that for ends that are only compared.
func uncomparedEnd(err error, job dispatch.Job) error {
	if small := shrunkEnd(err, job); small != err {
		return small
	}
	if name, _, op := failingEnd(err, job); op == "read" {
		return fmt.Errorf("%s has sectors that cannot be read: check its disks (dmesg has more): %w", shown(name), err)
	}
	return err
}

// failingEnd is the end that has sectors that fail, and what fails; "" if there is none.
func failingEnd(err error, job dispatch.Job) (name string, ofSource bool, op string) {
	var failed *emulation.Error
	if !errors.As(err, &failed) || !emulation.IsMediaError(failed) || errors.Is(err, failure.ErrUnread) {
		return "", false, ""
	}
	if failed.Device == job.Dst.Device.Name() && failed.Device != job.Src.Device.Name() {
		return job.Dst.Name, false, failed.Op
	}
	return job.Src.Name, true, failed.Op
}
