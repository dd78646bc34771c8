package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/offload"
	"github.com/dmcopy/dmcopy/remap"
)

// destination makes what was written durable, visible, and known to be where it belongs.
type destination struct {
	*base
	caches   *caches
	reviewer *reviewer
	files    ends.Files
	offload  *offload.Offloader // whose disks are flushed; nil before there is one
	looked   time.Time          // for users
}

// usersEvery is how often it is looked, at the end of windows, who uses the destination.
const usersEvery = 5 * time.Second

// flush makes everything durable that was written so far, and visible. After one that
// has failed nobody knows what is: a later one that succeeds says nothing about it. So
// it is carried out even if the copy is to end: what was written is not forgotten for
// that, and how long it takes is looked after by whoever waits for the copy.
func (d *destination) flush(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	err := errors.Join(d.job.Dst.Device.Flush(), d.offload.Flush(ctx), d.findable(), d.stillUnused(ctx), d.caches.dropStale(ctx))
	if err != nil {
		d.record.Drop()
	}
	return err
}

// findable has what was written found by its name after a crash.
func (d *destination) findable() error {
	if err := d.inPlace(); err != nil {
		return err
	}
	defer d.calls.Begin("flushing the directory of", d.job.Dst.Name, inflight.NoOffset)()
	return d.files.SyncName()
}

// inPlace fails if a file that was written has not its name and length any more.
func (d *destination) inPlace() error {
	defer d.calls.Begin("looking at", d.job.Dst.Name, inflight.NoOffset)()
	return d.files.InPlace()
}

// stillUnused fails if somebody has begun to use the destination.
func (d *destination) stillUnused(ctx context.Context) error {
	defer d.calls.Begin("looking for users", d.job.Dst.Name, inflight.NoOffset)()
	d.looked = time.Now()
	return d.job.Dst.StillUnused(ctx, d.log)
}

// checkpoint saves what is done if that is due. What is flushed is looked for where it was
// written, before it is said to be done. No hold is on.
func (d *destination) checkpoint(ctx context.Context) error {
	if !d.record.Due() {
		return nil
	}
	if err := d.flush(ctx); err != nil {
		return failure.During("flush", err)
	}
	if err := d.standing(ctx); err != nil {
		return err
	}
	return d.save(ctx)
}

// save enters what is done, unless it is not there any more.
func (d *destination) save(ctx context.Context) error {
	done, _ := byterange.Divide(d.job.Ranges, doneRuns(d.record.Unsaved()))
	if err := d.filled(ctx, done); err != nil {
		d.record.Drop()
		return failure.During("copy", err)
	}
	return d.record.Save()
}

// settled looks whether the destination is where the window was written, and saves
// what is done. If it is not, the plan is stale. No hold is on.
func (d *destination) settled(ctx context.Context) error {
	if time.Since(d.looked) >= usersEvery {
		if err := errors.Join(failure.During("copy", d.inPlace()), d.stillUnused(ctx)); err != nil {
			return err
		}
	}
	switch {
	case d.record.Due():
		return d.checkpoint(ctx)
	case len(d.window.ByHost) == 0:
		return nil // it was compared while it was held
	}
	return d.standing(ctx)
}

// standing fails with errReplan if the layout is not that of the plan.
func (d *destination) standing(ctx context.Context) error {
	still, err := d.reviewer.layoutUnchanged(ctx)
	if err == nil && !still {
		err = errReplan
	}
	return err
}

// endEarly leaves what was done before a copy ended early: saved, unless it is
// forgotten, and visible. A destination that is in transition is not waited for.
func (d *destination) endEarly(ctx context.Context, forgotten bool) error {
	changed, err := d.layout.Changes(ctx)
	still := err == nil && len(changed) == len(remap.Moved(changed))
	switch {
	case !d.record.HasJournal() || forgotten:
		if !still {
			return nil
		}
		return failure.During("flush", d.caches.dropStale(ctx))
	case !still:
		return failure.During("state", err)
	}
	return d.saveLast(ctx)
}

// saveLast saves what is not saved. Of a destination that was moved, nothing is said to
// be done that does not lie where it lay.
func (d *destination) saveLast(ctx context.Context) error {
	leave := d.flush
	if d.record.Saved() {
		leave = d.caches.dropStale
	}
	if err := leave(ctx); err != nil {
		return failure.During("flush", err)
	}
	still, err := d.reviewer.layoutUnchanged(ctx)
	if err == nil && !still {
		err = d.reviewer.withdrawMoved(ctx)
	}
	if err != nil {
		return err
	}
	return d.save(ctx)
}
