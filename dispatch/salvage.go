package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/journal"
)

// OnError says what to do about sectors that cannot be read.
type OnError string

const (
	// OnErrorStop ends the copy.
	OnErrorStop OnError = "stop"
	// OnErrorContinue writes zeroes instead, and goes on. The copy ends with
	// ErrUnread.
	OnErrorContinue OnError = "continue"
)

// Bad is a part of the source that could not be read. Its place on the
// destination holds zeroes: neither what happened to be there before, which could
// be taken for the data, nor a mixture that depends on how it was read.
type Bad struct {
	Src int64  `json:"src_offset"`
	Dst int64  `json:"dst_offset"`
	Len int64  `json:"length"`
	Why string `json:"error"`
}

// maxBad bounds how many parts a copy puts up with.
const maxBad = 1 << 16

// giveUp makes do without what could not be read, if it may. The engine has
// tried block by block by then.
func (r *run) giveUp(ctx context.Context, failures []emulation.Failure) error {
	for _, f := range failures {
		if !r.bearable(f) {
			return errors.Join(lost(failures), r.meanwhile(ctx))
		}
	}
	// A disk that is gone is not a bad sector.
	if err := r.meanwhile(ctx); err != nil {
		return errors.Join(lost(failures), err)
	}
	if len(r.bad)+len(failures) > maxBad {
		return fmt.Errorf("%w: more than %d parts of %s", emulation.ErrTooManyFailures, maxBad, r.job.Src.Name)
	}
	for _, f := range failures {
		r.counters.failed.Add(f.Op.Len)
		r.bad = appendBad(r.bad, Bad{Src: f.Op.Src, Dst: f.Op.Dst, Len: f.Op.Len, Why: cause(f)})
	}
	return r.blank(ctx, failures)
}

// bearable tells whether a failure is one that the copy goes on after.
func (r *run) bearable(f emulation.Failure) bool {
	return r.opts.OnError == OnErrorContinue && r.readFailure(f) && emulation.IsMediaError(f.Err)
}

// blank writes zeroes where there is nothing else to write.
func (r *run) blank(ctx context.Context, failures []emulation.Failure) error {
	result, err := r.engine.Copy(ctx, nil, r.job.Dst.Device, func(yield func(emulation.Op) bool) {
		for _, f := range failures {
			if !yield(emulation.Op{Dst: f.Op.Dst, Len: f.Op.Len, Zero: true}) {
				return
			}
		}
	}, emulation.Observer{})
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx)
	case err != nil:
		return err
	}
	return lost(result.Failures)
}

// cause is the error of the device, without the place, which the report has.
func cause(f emulation.Failure) string {
	var e *emulation.Error
	if errors.As(f.Err, &e) {
		return e.Err.Error()
	}
	return f.Err.Error()
}

// appendBad joins neighbours: a bad part can reach from one window into the next.
func appendBad(list []Bad, b Bad) []Bad {
	if n := len(list); n > 0 {
		last := &list[n-1]
		if last.Dst+last.Len == b.Dst && last.Src+last.Len == b.Src && last.Why == b.Why {
			last.Len += b.Len
			return list
		}
	}
	return append(list, b)
}

// readable is what is left of ranges without the bad parts.
func (r *run) readable(ranges []Range) []Range {
	var bad []journal.Extent
	for _, b := range r.bad {
		bad = append(bad, journal.Extent{Off: b.Dst, Len: b.Len, Status: journal.Done})
	}
	slices.SortFunc(bad, func(a, b journal.Extent) int { return cmp.Compare(a.Off, b.Off) })
	_, rest := divide(ranges, bad)
	return rest
}

// unread is the error of a copy that is done but for bad parts.
func (r *run) unread() error {
	if len(r.bad) == 0 {
		return nil
	}
	return wrap("copy", fmt.Errorf("%w: %d bytes in %d parts, zeroes were written instead, the first for byte %d: %s",
		ErrUnread, r.counters.failed.Load(), len(r.bad), r.bad[0].Src, r.bad[0].Why))
}
