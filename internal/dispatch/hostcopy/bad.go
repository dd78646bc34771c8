package hostcopy

import (
	"context"
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
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

// maxBad bounds how many parts a copy puts up with.
const maxBad = 1 << 16

// giveUp makes do without what could not be read, if it may. The engine has
// tried block by block by then.
func (h *Host) giveUp(ctx context.Context, steps []plan.Step, failures []emulation.Failure) error {
	for _, f := range failures {
		if !h.MayContinue(f) {
			return errors.Join(Lost(failures), h.explain(ctx))
		}
	}
	// A disk that is gone is not a bad sector.
	if err := h.explain(ctx); err != nil {
		return errors.Join(Lost(failures), err)
	}
	if len(h.bad)+len(failures) > maxBad {
		return fmt.Errorf("%w: more than %d parts of %s", emulation.ErrTooManyFailures, maxBad, h.src.Name)
	}
	for _, f := range failures {
		h.tally(steps, f.Op.Dst, f.Op.Len)
		h.account.Add(account.Failed, f.Op.Len)
		h.bad = appendBad(h.bad, account.Bad{Src: f.Op.Src, Dst: f.Op.Dst, Len: f.Op.Len, Why: cause(f)})
	}
	return h.blank(ctx, failures)
}

// MayContinue tells whether a failure is one that the copy goes on after.
func (h *Host) MayContinue(f emulation.Failure) bool {
	return h.onError == OnErrorContinue && h.ReadFailure(f) && emulation.IsMediaError(f.Err)
}

// blank writes zeroes where there is nothing else to write.
func (h *Host) blank(ctx context.Context, failures []emulation.Failure) error {
	result, err := h.engine.Copy(ctx, nil, h.dst.Device, func(yield func(emulation.Op) bool) {
		for _, f := range failures {
			if !yield(emulation.Op{Dst: f.Op.Dst, Len: f.Op.Len, Zero: true}) {
				return
			}
		}
	}, emulation.Observer{})
	switch {
	case ctx.Err() != nil:
		return failure.Interrupted(ctx)
	case err != nil:
		return err
	}
	return Lost(result.Failures)
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
func appendBad(list []account.Bad, b account.Bad) []account.Bad {
	if n := len(list); n > 0 {
		last := &list[n-1]
		if last.Dst+last.Len == b.Dst && last.Src+last.Len == b.Src && last.Why == b.Why {
			last.Len += b.Len
			return list
		}
	}
	return append(list, b)
}

// Readable is what is left of ranges without the bad parts.
func (h *Host) Readable(ranges []byterange.Range) []byterange.Range {
	var bad []byterange.Range
	for _, b := range h.bad {
		bad = append(bad, byterange.Range{Src: b.Src, Dst: b.Dst, Len: b.Len})
	}
	return byterange.Without(ranges, bad)
}

// Unread is the error of a copy that is done but for bad parts.
func (h *Host) Unread() error {
	if len(h.bad) == 0 {
		return nil
	}
	return failure.During("copy", fmt.Errorf("%w: %d bytes in %d parts, zeroes were written instead, the first for byte %d: %s",
		failure.ErrUnread, h.account.Bytes(account.Failed), len(h.bad), h.bad[0].Src, h.bad[0].Why))
}

// ReadFailure tells whether a failure is one of reading the source.
func (h *Host) ReadFailure(f emulation.Failure) bool {
	var e *emulation.Error
	return errors.As(f.Err, &e) && e.Op == "read" && e.Device == h.src.Device.Name()
}

// Bad is what could not be read so far.
func (h *Host) Bad() []account.Bad { return h.bad }

// Forget forgets what could not be read of the ranges: it is tried again.
func (h *Host) Forget(ranges []byterange.Range) {
	var left []account.Bad
	for _, b := range h.bad {
		for _, g := range byterange.Without([]byterange.Range{{Src: b.Src, Dst: b.Dst, Len: b.Len}}, ranges) {
			left = append(left, account.Bad{Src: g.Src, Dst: g.Dst, Len: g.Len, Why: b.Why})
		}
	}
	h.bad = left
}

// maxListed bounds how many failures an error names.
const maxListed = 8

// Lost makes an error of what could not be copied.
func Lost(failures []emulation.Failure) error {
	var errs []error
	for i, f := range failures {
		if i == maxListed {
			errs = append(errs, fmt.Errorf("and %d more", len(failures)-i))
			break
		}
		errs = append(errs, f.Err)
	}
	return errors.Join(errs...)
}
