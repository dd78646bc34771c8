package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/record"
	"github.com/dmcopy/dmcopy/internal/journal"
)

const (
	// samples of the source are taken in so many places, of sampleUnit bytes
	// or a block each.
	sourceSamples = 64
	sampleUnit    = 4096
)

// resumer goes on where an earlier run of the copy has ended.
type resumer struct {
	*base
	source   *source
	caches   *caches
	verifier *verifier
}

// takeUp begins with the journal, or goes on where it ends, and returns what is to be copied.
// Nothing is written to the destination.
func (r *resumer) takeUp(ctx context.Context) (pending []byterange.Range, err error) {
	if r.opts.Journal == nil {
		return r.job.Ranges, nil
	}
	// What is dirty above or below belongs to what is looked at.
	if err := r.caches.drop(ctx); err != nil {
		return nil, failure.During("flush", err)
	}
	samples, err := r.sampleSource(ctx)
	if err != nil {
		return nil, failure.During("state", err)
	}
	if err := r.opts.Journal.Begun(samples); err != nil {
		return nil, failure.During("state", err)
	}
	done, pending := byterange.Divide(r.job.Ranges, doneRuns(r.opts.Journal.Extents()))
	if r.source.frozen != nil && len(done) > 0 {
		if done, pending, err = r.renew(ctx, done); err != nil {
			return nil, err
		}
	}
	if err := r.recheck(ctx, done); err != nil {
		return nil, err
	}
	pending, there, err := r.zones.Passed(ctx, pending)
	if err != nil {
		return nil, err
	}
	if resumed := slices.Concat(done, there); len(resumed) > 0 {
		r.account.Resume(byterange.Length(resumed))
		r.record.Note(resumed, r.account.Share())
	}
	return pending, nil
}

// doneRuns are the runs of the destination that are recorded as done.
func doneRuns(extents []journal.Extent) (runs []byterange.Run) {
	for _, e := range extents {
		if e.Status == journal.Done {
			runs = append(runs, byterange.Run{Off: e.Off, Len: e.Len})
		}
	}
	return runs
}

// sampleSource takes samples of the source, unless it changes anyway.
func (r *resumer) sampleSource(ctx context.Context) ([]journal.Sample, error) {
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
	for _, place := range byterange.Spread(r.job.Ranges, sourceSamples, int64(unit)) {
		if ctx.Err() != nil {
			break
		}
		samples = append(samples, sample(r.opts.Journal.Job(), src, buffer, place))
	}
	pool.Put(buffer)
	if err := pool.Close(); err != nil || ctx.Err() == nil {
		return samples, err
	}
	return nil, failure.Interrupted(ctx)
}

// sample is a digest of a place of the source, or of its beginning: the block
// around it can belong to the destination. What cannot be read in one go is none:
// it need not be the same the next time.
func sample(key []byte, src emulation.Device, buffer []byte, place byterange.Range) journal.Sample {
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
func (r *resumer) recheck(ctx context.Context, done []byterange.Range) error {
	if len(done) == 0 || r.opts.LiveSource {
		return nil
	}
	places := byterange.Stretches(done, record.RecheckPlaces, record.RecheckBytes)
	found, err := r.host.CompareRanges(ctx, places, emulation.Observer{})
	switch {
	case ctx.Err() != nil:
		return failure.Interrupted(ctx)
	case err != nil:
		return failure.During("state", err)
	}
	if err := hostcopy.Lost(slices.DeleteFunc(found.Failures, r.host.ReadFailure)); err != nil {
		return failure.During("state", err)
	}
	lost, err := r.punchedHole(ctx, done)
	if err != nil {
		return failure.During("state", err)
	}
	if len(found.Mismatches) > 0 {
		lost = &found.Mismatches[0]
	}
	if m := lost; m != nil {
		return failure.During("state", failure.Refuse(r.job.Dst.Name, "does not hold what was copied before: byte %d differs from byte %d of %s",
			"it was written to, or the source was, since the copy was interrupted: begin anew with --restart", m.Dst, m.Src, r.job.Src.Name))
	}
	return nil
}

// recheckUnit is what is copied again around a difference, in bytes.
const recheckUnit = 1 << 20

// renew divides the job into what earlier runs have done and is so still, and what is
// to be copied: what they have copied is a frozen source, too, but of another moment.
func (r *resumer) renew(ctx context.Context, done []byterange.Range) (same, pending []byterange.Range, err error) {
	found, err := r.verifier.compare(ctx, done)
	if err != nil {
		return nil, nil, failure.During("state", err)
	}
	places := found.Mismatches
	for _, f := range found.Failures { // tried again, as by any other run
		places = append(places, emulation.Mismatch{Dst: f.Op.Dst, Len: f.Op.Len})
	}
	if found.Truncated {
		last := found.Mismatches[len(found.Mismatches)-1]
		places = append(places, emulation.Mismatch{Dst: last.Dst, Len: r.job.Dst.Device.Size() - last.Dst})
	}
	same = apartFrom(places, done)
	if r.zones.Any() && byterange.Length(same) < byterange.Length(done) {
		return nil, nil, failure.During("state", failure.Refuse(r.job.Dst.Name, "holds what the source was before, which cannot be overwritten in zones",
			"reset the zones, and begin anew with --restart"))
	}
	same, pending = byterange.Divide(r.job.Ranges, byterange.Runs(same))
	return same, pending, nil
}

// apartFrom cuts ranges into units, and leaves out those that hold one of the places.
func apartFrom(places []emulation.Mismatch, ranges []byterange.Range) []byterange.Range {
	var rest []byterange.Range
	for _, g := range ranges {
		begin := int64(0)
		for off := int64(0); off < g.Len; off += recheckUnit {
			unit := g.Part(off, min(off+recheckUnit, g.Len))
			if slices.ContainsFunc(places, func(m emulation.Mismatch) bool { return m.Dst < unit.Dst+unit.Len && unit.Dst < m.Dst+m.Len }) {
				rest = byterange.Append(rest, g.Part(begin, off))
				begin = off + unit.Len
			}
		}
		rest = byterange.Append(rest, g.Part(begin, g.Len))
	}
	return rest
}
