package dispatch

import (
	"context"
	"fmt"
	"math"

	"github.com/dmcopy/dmcopy/dispatch/account"
	"github.com/dmcopy/dmcopy/dispatch/byterange"
	"github.com/dmcopy/dmcopy/dispatch/failure"
	"github.com/dmcopy/dmcopy/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/emulation"
)

// verifier compares the destination with the source.
type verifier struct{ *base }

// sampleEvery and sampleBytes are what account.VerifySample reads: one piece in every
// stretch of the copy.
const (
	sampleEvery = 64 << 20
	sampleBytes = 1 << 20
)

// verify compares what the options say.
func (v *verifier) verify(ctx context.Context) error {
	ranges := v.host.Readable(v.job.Ranges)
	switch v.opts.Verify {
	case account.VerifyNone:
		return nil
	case account.VerifySample:
		ranges = samples(ranges)
	}
	found, err := v.compare(ctx, ranges)
	if err == nil {
		err = hostcopy.Lost(found.Failures)
	}
	if err != nil {
		return failure.During("verify", err)
	}
	v.account.SetVerified(v.opts.Verify)
	if len(found.Mismatches) > 0 {
		m := found.Mismatches[0]
		return failure.During("verify", fmt.Errorf("%w: byte %d of %s and byte %d of %s, the first of %d bytes",
			failure.ErrMismatch, m.Src, v.job.Src.Name, m.Dst, v.job.Dst.Name, m.Len))
	}
	return nil
}

// samples thins the ranges out. The beginning and the end are always among
// them.
func samples(ranges []byterange.Range) []byterange.Range {
	var some []byterange.Range
	for _, g := range ranges {
		last := max(g.Len-sampleBytes, 0)
		for off := int64(0); off < last; off += sampleEvery {
			some = append(some, g.Part(off, min(off+sampleBytes, last)))
		}
		some = append(some, g.Part(last, g.Len))
	}
	return some
}

// compare compares the ranges through the top.
func (v *verifier) compare(ctx context.Context, ranges []byterange.Range) (emulation.Comparison, error) {
	v.account.Verifying(byterange.Length(ranges))
	var all emulation.Comparison
	for len(ranges) > 0 {
		some := byterange.First(ranges, v.pace.Most(math.MaxInt64))
		bytes := byterange.Length(some)
		err := v.pace.Do(ctx, func() error { return nil }, func() (int64, error) {
			found, err := v.host.CompareRanges(ctx, some, emulation.Observer{Progress: v.account.Compared})
			all.Read += found.Read
			all.Failures = append(all.Failures, found.Failures...)
			all.Mismatches = append(all.Mismatches, found.Mismatches...)
			all.Truncated = all.Truncated || found.Truncated
			return bytes, err
		})
		if err != nil {
			return all, err
		}
		ranges = byterange.Skip(ranges, bytes)
	}
	return all, nil
}
