package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"time"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/journal"
	"github.com/dmcopy/dmcopy/remap"
)

// ReasonResumed: an earlier run of the copy has done it.
const ReasonResumed remap.Reason = "state:done"

const (
	// samples of the source are taken in so many places, of sampleUnit bytes
	// or a block each.
	sourceSamples = 64
	sampleUnit    = 4096
	// What earlier runs have done is compared in so many places, of
	// recheckBytes each, before it is relied on.
	recheckPlaces = 64
	recheckBytes  = 256 << 10
)

// takeUp begins with the journal, or goes on where it ends. Nothing is written
// to the destination.
func (r *run) takeUp(ctx context.Context) error {
	r.pending = r.job.Ranges
	if r.opts.Journal == nil {
		return nil
	}
	r.ledger.saved = time.Now()
	// What is dirty above or below belongs to what is looked at.
	if err := r.dropCaches(ctx); err != nil {
		return wrap("flush", err)
	}
	samples, err := r.sampleSource(ctx)
	if err != nil {
		return wrap("state", err)
	}
	if err := r.opts.Journal.Begun(samples); err != nil {
		return wrap("state", err)
	}
	done, pending := divide(r.job.Ranges, r.opts.Journal.Extents())
	if r.frozen != nil && len(done) > 0 {
		if done, pending, err = r.renew(ctx, done); err != nil {
			return err
		}
	}
	if err := r.recheck(ctx, done); err != nil {
		return err
	}
	pending, there, err := r.passed(ctx, pending)
	if err != nil {
		return err
	}
	r.pending, r.resumed = pending, length(done)+length(there)
	if r.resumed > 0 {
		r.tally.add(MethodSkip, ReasonResumed, r.resumed)
		r.counters.skipped.Add(r.resumed)
		r.done.note(slices.Concat(done, there), r.account())
	}
	return nil
}

// divide cuts ranges into what is done and what is not. The extents are in
// order of the destination.
func divide(ranges []Range, extents []journal.Extent) (done, pending []Range) {
	for _, g := range ranges {
		first := sort.Search(len(extents), func(i int) bool { return extents[i].Off+extents[i].Len > g.Dst })
		for _, e := range extents[first:] {
			if e.Off >= g.Dst+g.Len {
				break
			}
			if e.Status != journal.Done {
				continue
			}
			pending = appendRange(pending, g.part(0, e.Off-g.Dst))
			begin := max(e.Off-g.Dst, 0)
			end := min(e.Off+e.Len-g.Dst, g.Len)
			done = appendRange(done, g.part(begin, end))
			g = g.part(end, g.Len)
		}
		pending = appendRange(pending, g)
	}
	return done, pending
}

// part is what lies between two offsets into the range.
func (g Range) part(from, to int64) Range {
	return Range{Src: g.Src + from, Dst: g.Dst + from, Len: to - from}
}

func appendRange(list []Range, g Range) []Range {
	if g.Len <= 0 {
		return list
	}
	return append(list, g)
}

// spread picks places of n bytes, or of what there is, evenly over the ranges;
// the beginning and the end are among them.
func spread(ranges []Range, places int, n int64) []Range {
	total := length(ranges)
	var picked []Range
	i, begin := 0, int64(0) // the range that is looked at, and where it begins
	for k := range int64(places) {
		// Whole units, so that few places straddle two of them.
		at := max(total-n, 0) / int64(places-1) * k &^ (sampleUnit - 1)
		if k == int64(places-1) {
			at = max(total-n, 0)
		}
		for i < len(ranges) && at >= begin+ranges[i].Len {
			begin += ranges[i].Len
			i++
		}
		if i == len(ranges) {
			break
		}
		g := ranges[i]
		place := g.part(at-begin, min(at-begin+n, g.Len))
		if !slices.Contains(picked, place) {
			picked = append(picked, place)
		}
	}
	return picked
}

// stretches picks places of n bytes evenly over the ranges, the beginning and the end
// among them, or everything if that is not more. Unlike those of spread they go on from
// one range into the next: what was done is in pieces, however near they lie.
func stretches(ranges []Range, places int, n int64) []Range {
	total := length(ranges)
	if total <= int64(places)*n {
		return ranges
	}
	var picked []Range
	for k := range int64(places) {
		at := (total - n) / int64(places-1) * k &^ (sampleUnit - 1)
		if k == int64(places-1) {
			at = total - n
		}
		picked = append(picked, first(skip(ranges, at), n)...)
	}
	return picked
}

// sampleSource takes samples of the source, unless it changes anyway.
func (r *run) sampleSource(ctx context.Context) ([]journal.Sample, error) {
	if r.opts.LiveSource {
		return nil, nil
	}
	src := r.job.Src.Device
	unit := max(sampleUnit, src.BlockSize())
	pool, err := blockio.NewPool(1, unit)
	if err != nil {
		return nil, err
	}
	buffer, err := pool.Get(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	var samples []journal.Sample
	for _, place := range spread(r.job.Ranges, sourceSamples, int64(unit)) {
		if ctx.Err() != nil {
			break
		}
		samples = append(samples, sample(r.opts.Journal.Job(), src, buffer, place))
	}
	pool.Put(buffer)
	if err := pool.Close(); err != nil || ctx.Err() == nil {
		return samples, err
	}
	return nil, interrupted(ctx)
}

// sample is a digest of a place of the source, or of its beginning: the block
// around it can belong to the destination. What cannot be read in one go is none:
// it need not be the same the next time.
func sample(key []byte, src emulation.Device, buffer []byte, place Range) journal.Sample {
	off := place.Src - place.Src%int64(len(buffer))
	want := int(min(int64(len(buffer)), src.Size()-off))
	n, err := src.ReadAt(buffer, off)
	if n < want || err != nil && !errors.Is(err, io.EOF) {
		return journal.Unread
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%x %d ", key, place.Src) // equal places have different samples
	hash.Write(buffer[place.Src-off : min(place.Src-off+place.Len, int64(want))])
	return journal.Sample(hex.EncodeToString(hash.Sum(nil)[:8]))
}

// recheck compares what is done with the source, in a few places: the
// destination can have been written to since, or have lost what it was told to
// keep. What cannot be read of the source any more was read once.
func (r *run) recheck(ctx context.Context, done []Range) error {
	if len(done) == 0 || r.opts.LiveSource {
		return nil
	}
	places := stretches(done, recheckPlaces, recheckBytes)
	found, err := r.engine.Compare(ctx, r.job.Src.Device, r.job.Dst.Device, copies(places), emulation.Observer{})
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx)
	case err != nil:
		return wrap("state", err)
	}
	if err := lost(slices.DeleteFunc(found.Failures, r.readFailure)); err != nil {
		return wrap("state", err)
	}
	if len(found.Mismatches) > 0 {
		m := found.Mismatches[0]
		return wrap("state", refuse(r.job.Dst.Name, "does not hold what was copied before: byte %d differs from byte %d of %s",
			"it was written to, or the source was, since the copy was interrupted: begin anew with --restart", m.Dst, m.Src, r.job.Src.Name))
	}
	return nil
}

// readFailure tells whether a failure is one of reading the source.
func (r *run) readFailure(f emulation.Failure) bool {
	var e *emulation.Error
	return errors.As(f.Err, &e) && e.Op == "read" && e.Device == r.job.Src.Device.Name()
}
