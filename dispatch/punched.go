package dispatch

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
)

// A file that somebody cuts off, and makes as long again before anybody looks, has its name
// and its length. But what was written of it is a hole now; so is what somebody has punched.
// A hole is no sin by itself: the source may have one there as well, or hold zeroes. So what
// is a hole of the destination only is compared.

// holeBatch is how many holes are compared at a time.
const holeBatch = 1024

// filled fails if something of the ranges, which are done, is a hole of the destination and
// different from the source.
func (d *destination) filled(ctx context.Context, ranges []byterange.Range) error {
	defer d.calls.Begin("looking for holes", d.job.Dst.Name, inflight.NoOffset)()
	ranges = d.host.Readable(ranges)
	if d.opts.LiveSource && !d.allData(ranges) {
		return nil
	}
	lost, err := d.punchedHole(ctx, ranges)
	if err != nil || lost == nil {
		return err
	}
	if err := d.files.Unmodified(); err != nil { // then a difference is none of the destination
		return err
	}
	return fmt.Errorf("%w: %s, at byte %d: somebody has cut the file off and made it longer again, or has punched a hole into it: keep others away from it, and copy again",
		failure.ErrPunched, d.job.Dst.Name, lost.Dst)
}

// allData tells whether the ranges, and all that was done so far, were written by the host as
// data. Then they are no hole, whatever has become of the source since.
func (d *destination) allData(ranges []byterange.Range) bool {
	other := d.account.Bytes(account.Offloaded) + d.account.Bytes(account.Zeroed) + d.account.Bytes(account.Skipped)
	return other == 0 && d.account.Bytes(account.ByHost) >= byterange.Length(ranges)
}

// punchedHole is the first difference from the source in what is a hole of the destination only;
// nil if there is none. With Options.Sparse there are holes wherever the source has zeroes, of
// which samples are compared, as for [account.VerifySample].
func (b *base) punchedHole(ctx context.Context, ranges []byterange.Range) (*emulation.Mismatch, error) {
	var failed error
	found := func(yield func(byterange.Range) bool) {
		for g, err := range b.layout.Plan().PunchedHoles(ctx, ranges) {
			if failed = err; err != nil || !yield(g) {
				return
			}
		}
	}
	for some := range batches(found, holeBatch) {
		if b.opts.Sparse {
			for few := range batches(samples(some), holeBatch) {
				if lost, err := b.differs(ctx, few); lost != nil || err != nil {
					return lost, err
				}
			}
			continue
		}
		if lost, err := b.differs(ctx, some); lost != nil || err != nil {
			return lost, err
		}
	}
	return nil, failed
}

// differs is the first difference in the ranges.
func (b *base) differs(ctx context.Context, ranges []byterange.Range) (*emulation.Mismatch, error) {
	found, err := b.host.CompareRanges(ctx, ranges, emulation.Observer{})
	switch {
	case ctx.Err() != nil:
		return nil, failure.Interrupted(ctx)
	case err == nil:
		err = hostcopy.Lost(found.Failures)
	}
	if err != nil || len(found.Mismatches) == 0 {
		return nil, err
	}
	return &found.Mismatches[0], nil
}
