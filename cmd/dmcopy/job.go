package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// openJob opens both ends and checks the ranges. What it fails on is closed
// again.
func (a *app) openJob(ctx context.Context, from, to string, chosen []byterange.Range, opts ends.OpenOptions) (dispatch.Job, error) {
	src, dst, ranges, drafted, err := ends.OpenBoth(ctx, thisMachine, from, to, chosen, opts)
	if drafted {
		a.note("%s does not exist: copy would create it as a regular file of %s", shown(to), human(src.Device.Size()))
	}
	return dispatch.Job{Src: src, Dst: dst, Ranges: ranges}, err
}

// created tells of a new file: a name can be misspelt.
func (a *app) created(job dispatch.Job) {
	if job.Dst.Created() {
		a.note("%s did not exist: dmcopy created it as a regular file of %s", shown(job.Dst.Name), human(job.Dst.Device.Size()))
	}
}

// discard takes back what was created for a copy that was refused.
func (a *app) discard(job dispatch.Job) error {
	removed, err := job.Dst.Discard()
	switch {
	case removed:
		a.note("dmcopy removed %s again", shown(job.Dst.Name))
	case job.Dst.Created() && err == nil:
		a.note("dmcopy did not remove %s again, because somebody else uses it by now", shown(job.Dst.Name))
	}
	return err
}

// openReading opens both ends for reading only. With opts.Dry the destination need not
// be there, as long as a copy would create it.
func openReading(ctx context.Context, from, to string, chosen []byterange.Range, opts ends.OpenOptions) (dispatch.Job, error) {
	src, err := ends.OpenSource(ctx, thisMachine, from, opts)
	if err != nil {
		return dispatch.Job{}, err
	}
	opts.Beside = src
	dst, err := ends.OpenSource(ctx, thisMachine, to, opts)
	var ranges []byterange.Range
	switch {
	case errors.Is(err, ends.ErrMissing) && opts.Dry:
		dst, ranges, err = ends.CreateDestination(ctx, thisMachine, to, src, chosen, opts)
	case err == nil:
		if ranges, err = ends.Ranges(src, dst, chosen); err != nil {
			err = errors.Join(shorter(src, dst, err), dst.Close())
		}
	}
	if err != nil {
		return dispatch.Job{}, errors.Join(err, src.Close())
	}
	return dispatch.Job{Src: src, Dst: dst, Ranges: ranges}, nil
}

// shorter says of what is only read what Ranges says of what is to be written.
func shorter(src, dst ends.Endpoint, err error) error {
	have, want := dst.Device.Size(), src.Device.Size()
	var refusal *failure.Refusal
	if errors.Is(err, failure.ErrUsage) && src.Device.ID() == dst.Device.ID() {
		return &failure.Refusal{
			Thing: src.Name, Kind: failure.ErrUsage,
			Reason: "is both source and destination, so that a comparison would find nothing",
			Way:    "name two, or ranges of it that do not overlap",
		}
	}
	if !errors.As(err, &refusal) || !errors.Is(err, failure.ErrRefused) || refusal.Thing != dst.Name || have >= want {
		return err
	}
	if have == 0 {
		return &failure.Refusal{
			Thing: dst.Name, Kind: failure.ErrRefused,
			Reason: fmt.Sprintf("is empty: there is nothing to compare %s with", src.Name), Way: "check the name",
		}
	}
	return &failure.Refusal{
		Thing: dst.Name, Kind: failure.ErrRefused,
		Reason: fmt.Sprintf("is shorter than %s: it has %d bytes, and not %d", src.Name, have, want),
		Way:    fmt.Sprintf("compare what both have with --length %d", have),
	}
}
