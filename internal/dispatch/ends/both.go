package ends

import (
	"context"
	"errors"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// Here is the machine that this process runs on, as its file systems show it.
const Here = sysblock.FS("")

// OpenBoth opens source and destination, and checks the ranges, which are returned as by
// [Ranges]. A destination that is missing is created as [CreateDestination] does; with
// opts.Dry, drafted says that it would be. What it fails on is closed again.
func OpenBoth(ctx context.Context, sys sysblock.FS, from, to string, chosen []byterange.Range, opts OpenOptions) (src, dst Endpoint, ranges []byterange.Range, drafted bool, err error) {
	if src, err = OpenSource(ctx, sys, from, opts); err != nil {
		return src, dst, nil, false, err
	}
	opts.Beside = src
	dst, err = OpenDestination(ctx, sys, to, opts)
	switch {
	case errors.Is(err, ErrMissing):
		dst, ranges, err = CreateDestination(ctx, sys, to, src, chosen, opts)
		drafted = opts.Dry
	case err == nil:
		if ranges, err = Ranges(src, dst, chosen); err != nil {
			err = errors.Join(err, dst.Close())
		}
	}
	if err != nil {
		return Endpoint{}, Endpoint{}, nil, false, errors.Join(err, src.Close())
	}
	return src, dst, ranges, drafted, nil
}
