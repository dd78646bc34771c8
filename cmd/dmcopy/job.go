package main

import (
	"context"
	"errors"

	"github.com/dmcopy/dmcopy/dispatch"
)

// openJob opens both ends and checks the ranges. What it fails on is closed
// again.
func (a *app) openJob(ctx context.Context, from, to string, chosen []dispatch.Range, opts dispatch.OpenOptions) (dispatch.Job, error) {
	src, err := dispatch.OpenSource(ctx, thisMachine, from, opts)
	if err != nil {
		return dispatch.Job{}, err
	}
	dst, err := dispatch.OpenDestination(ctx, thisMachine, to, opts)
	var ranges []dispatch.Range
	switch {
	case errors.Is(err, dispatch.ErrMissing) && !opts.Dry:
		dst, ranges, err = dispatch.CreateDestination(ctx, thisMachine, to, src, chosen)
		if err == nil {
			a.term.message("dmcopy: there was no " + to + ": created it as a regular file of " + human(src.Device.Size()))
		}
	case err == nil:
		ranges, err = dispatch.Ranges(src, dst, chosen)
		if err != nil {
			err = errors.Join(err, dst.Close())
		}
	}
	if err != nil {
		return dispatch.Job{}, errors.Join(err, src.Close())
	}
	return dispatch.Job{Src: src, Dst: dst, Ranges: ranges}, nil
}

// openReading opens both ends for reading only.
func openReading(ctx context.Context, from, to string, chosen []dispatch.Range, opts dispatch.OpenOptions) (dispatch.Job, error) {
	src, err := dispatch.OpenSource(ctx, thisMachine, from, opts)
	if err != nil {
		return dispatch.Job{}, err
	}
	dst, err := dispatch.OpenSource(ctx, thisMachine, to, opts)
	if err != nil {
		return dispatch.Job{}, errors.Join(err, src.Close())
	}
	ranges, err := dispatch.Ranges(src, dst, chosen)
	if err != nil {
		return dispatch.Job{}, errors.Join(err, src.Close(), dst.Close())
	}
	return dispatch.Job{Src: src, Dst: dst, Ranges: ranges}, nil
}
