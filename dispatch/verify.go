package dispatch

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
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
	if v.opts.Verify == account.VerifyNone {
		return nil
	}
	compare := v.compare
	if v.opts.Verify == account.VerifySample {
		compare = v.compareSamples
	}
	found, err := compare(ctx, v.host.Readable(v.job.Ranges))
	if err == nil {
		err = hostcopy.Lost(found.Failures)
	}
	if err != nil {
		return failure.During("verify", err)
	}
	v.account.Verified = v.opts.Verify
	if len(found.Mismatches) > 0 {
		m := found.Mismatches[0]
		return failure.During("verify", fmt.Errorf("%w: byte %d of %s and byte %d of %s, the first of %d bytes",
			failure.ErrMismatch, m.Src, v.job.Src.Name, m.Dst, v.job.Dst.Name, m.Len))
	}
	return nil
}

// compareSamples compares samples of the ranges, a batch of them at a time: of 8 EiB
// there are 2^37.
func (v *verifier) compareSamples(ctx context.Context, ranges []byterange.Range) (all emulation.Comparison, err error) {
	const batch = 1024
	v.account.Verifying(sampledBytes(ranges))
	for some := range batches(samples(ranges), batch) {
		found, err := v.compareListed(ctx, some)
		merge(&all, found)
		if err != nil || len(found.Failures) > 0 || len(found.Mismatches) > 0 {
			return all, err // what else there is makes it no better
		}
	}
	return all, nil
}

// samples are pieces of the ranges. The beginning and the end of each are always among them.
func samples(ranges []byterange.Range) iter.Seq[byterange.Range] {
	return func(yield func(byterange.Range) bool) {
		for _, g := range ranges {
			last := max(g.Len-sampleBytes, 0)
			for n := range pieces(last) {
				off := n * sampleEvery
				if !yield(g.Part(off, min(off+sampleBytes, last))) {
					return
				}
			}
			if !yield(g.Part(last, g.Len)) {
				return
			}
		}
	}
}

// pieces is how many samples begin in that many bytes.
func pieces(bytes int64) int64 { return bytes/sampleEvery + min(bytes%sampleEvery, 1) }

// sampledBytes is how many bytes the samples of the ranges have.
func sampledBytes(ranges []byterange.Range) (sum int64) {
	for _, g := range ranges {
		last := max(g.Len-sampleBytes, 0)
		sum += g.Len - last
		if n := pieces(last); n > 0 {
			sum += (n-1)*sampleBytes + min(sampleBytes, last-(n-1)*sampleEvery)
		}
	}
	return sum
}

// batches puts up to so many ranges at a time into a list, which is only good until the
// next one.
func batches(ranges iter.Seq[byterange.Range], size int) iter.Seq[[]byterange.Range] {
	return func(yield func([]byterange.Range) bool) {
		list := make([]byterange.Range, 0, size)
		for g := range ranges {
			if list = append(list, g); len(list) < size {
				continue
			}
			if !yield(list) {
				return
			}
			list = list[:0]
		}
		if len(list) > 0 {
			yield(list)
		}
	}
}

// compare compares the ranges through the top.
func (v *verifier) compare(ctx context.Context, ranges []byterange.Range) (emulation.Comparison, error) {
	v.account.Verifying(byterange.Length(ranges))
	return v.compareListed(ctx, ranges)
}

// compareListed compares, and waits where there is a rate.
func (v *verifier) compareListed(ctx context.Context, ranges []byterange.Range) (all emulation.Comparison, err error) {
	for len(ranges) > 0 {
		some := byterange.First(ranges, v.pace.Most(math.MaxInt64))
		bytes := byterange.Length(some)
		err := v.pace.Do(ctx, func() error { return nil }, func() (int64, error) {
			found, err := v.host.CompareRanges(ctx, some, emulation.Observer{Progress: v.account.Compared})
			merge(&all, found)
			return bytes, err
		})
		if err != nil && ctx.Err() != nil {
			err = failure.Interrupted(ctx)
		}
		if err != nil {
			return all, err
		}
		ranges = byterange.Skip(ranges, bytes)
	}
	return all, nil
}

// merge adds what else was found.
func merge(all *emulation.Comparison, found emulation.Comparison) {
	all.Read += found.Read
	all.Failures = append(all.Failures, found.Failures...)
	all.Mismatches = append(all.Mismatches, found.Mismatches...)
	all.Truncated = all.Truncated || found.Truncated
}
