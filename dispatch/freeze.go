package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/journal"
)

// ErrThawed: the file system of the source did not stand still until the end of
// the copy, which is a copy of no moment.
var ErrThawed = errors.New("the file system of the source was not frozen all the time, and what was copied is not consistent")

// Frozen is a source that stands still.
type Frozen interface {
	// Over is closed when it stands still no longer.
	Over() <-chan struct{}
	// Thaw ends it. There is no error only if it has stood still until now.
	Thaw() error
}

// FreezeSource freezes the file system that the source was opened with, for at most
// limit. What cannot be frozen is a [Refusal].
func FreezeSource(src Endpoint, limit time.Duration) func(context.Context) (Frozen, error) {
	return func(ctx context.Context) (Frozen, error) {
		frozen, err := src.mounted.Freeze(ctx, limit)
		if err != nil {
			return nil, refuseFreezing(src, err)
		}
		return frozen, nil
	}
}

// refuseFreezing explains what the kernel says (fs/ioctl.c, ioctl_fsfreeze).
func refuseFreezing(src Endpoint, err error) error {
	point := src.mounted.Point()
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return refuse(src.Name, "cannot be frozen: the file system on %s has no means for it", anotherWay, point)
	case errors.Is(err, unix.EBUSY):
		return refuse(src.Name, "cannot be frozen: the file system on %s is frozen already",
			"wait for whoever did it, or run: fsfreeze --unfreeze "+point, point)
	case errors.Is(err, unix.EPERM):
		return refuse(src.Name, "cannot be frozen: permission denied", "run as root")
	}
	return err
}

// stillness is the time for which the source is frozen.
type stillness struct {
	Frozen
	since time.Time
	// asked is closed before it is thawed.
	asked chan struct{}
}

// early ends the copy unless it has thawed the source itself.
func (s *stillness) early(end context.CancelCauseFunc) {
	select {
	case <-s.asked:
	default:
		end(ErrThawed)
	}
}

// freeze has the source stand still, if it is to, before anything is read of it,
// its layout included: what is written back changes the maps of thin volumes. The
// context that it returns ends when the source moves again too early.
func (r *run) freeze(ctx context.Context) (context.Context, error) {
	if r.opts.Freeze == nil {
		return ctx, nil
	}
	r.phase(PhaseFreezing)
	frozen, err := r.opts.Freeze(ctx)
	if err != nil {
		return ctx, endedBy(ctx, err)
	}
	s := &stillness{Frozen: frozen, since: time.Now(), asked: make(chan struct{})}
	r.frozen = s
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.asked:
		case <-frozen.Over():
			s.early(end)
		}
	}()
	return ctx, nil
}

// thaw lets the source go. There is no error if it has stood still until now.
func (r *run) thaw() error {
	if r.frozen == nil {
		return nil
	}
	s := r.frozen
	r.frozen = nil
	close(s.asked)
	if err := s.Thaw(); err != nil {
		return wrap("freeze", fmt.Errorf("%w: %w", ErrThawed, err))
	}
	r.still = time.Since(s.since)
	return nil
}

// thawAfter thaws the source after all that was to be read of it was, or err came in
// between. That it moved is the whole story if the copy ended because of it.
//
// What ended before all of it was read is not consistent, however long the source stood still.
func (r *run) thawAfter(err error) error {
	frozen := r.frozen != nil
	thawed := r.thaw()
	if frozen && err != nil && !errors.Is(err, ErrMismatch) && !errors.Is(err, ErrUnread) {
		r.still = 0
	}
	if thawed != nil && errors.Is(err, ErrThawed) {
		return thawed
	}
	return errors.Join(err, thawed)
}

// recheckUnit is what is copied again around a difference, in bytes.
const recheckUnit = 1 << 20

// renew divides the job into what earlier runs have done and is so still, and what is
// to be copied: what they have copied is a frozen source, too, but of another moment.
func (r *run) renew(ctx context.Context, done []Range) (same, pending []Range, err error) {
	found, err := r.compare(ctx, done)
	r.counters.compared.Store(0)
	if err != nil {
		return nil, nil, wrap("state", err)
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
	if r.zones.zoner != nil && length(same) < length(done) {
		return nil, nil, wrap("state", refuse(r.job.Dst.Name, "holds what the source was before, which cannot be overwritten in zones",
			"reset the zones, and begin anew with --restart"))
	}
	same, pending = divide(r.job.Ranges, extents(same))
	return same, pending, nil
}

// apartFrom cuts ranges into units, and leaves out those that hold one of the places.
func apartFrom(places []emulation.Mismatch, ranges []Range) []Range {
	var rest []Range
	for _, g := range ranges {
		begin := int64(0)
		for off := int64(0); off < g.Len; off += recheckUnit {
			unit := g.part(off, min(off+recheckUnit, g.Len))
			if slices.ContainsFunc(places, func(m emulation.Mismatch) bool { return m.Dst < unit.Dst+unit.Len && unit.Dst < m.Dst+m.Len }) {
				rest = appendRange(rest, g.part(begin, off))
				begin = off + unit.Len
			}
		}
		rest = appendRange(rest, g.part(begin, g.Len))
	}
	return rest
}

// extents are ranges that are done, as a journal lists them.
func extents(done []Range) []journal.Extent {
	var m journal.Map
	for _, g := range done {
		m.Put(journal.Extent{Off: g.Dst, Len: g.Len, Status: journal.Done})
	}
	return m.Extents()
}
