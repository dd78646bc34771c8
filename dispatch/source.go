package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// source is the source of a copy, and whether it is frozen.
type source struct {
	*base
	frozen ends.Frozen // nil if it is not
	since  time.Time
	// asked is closed before it is thawed.
	asked chan struct{}
}

// freeze has the source stand still, if it is to, before anything is read of it,
// its layout included: what is written back changes the maps of thin volumes. The
// context that it returns ends when the source moves again too early.
func (s *source) freeze(ctx context.Context) (context.Context, error) {
	if s.opts.Freeze == nil {
		return ctx, nil
	}
	s.account.SetPhase(account.PhaseFreezing)
	frozen, err := s.opts.Freeze(ctx)
	if err != nil {
		return ctx, failure.Ended(ctx, err)
	}
	asked := make(chan struct{})
	s.frozen, s.since, s.asked = frozen, time.Now(), asked
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-asked:
		case <-frozen.Thawed():
			endUnless(asked, end)
		}
	}()
	return ctx, nil
}

// endUnless ends a copy whose source was not thawed by itself.
func endUnless(asked <-chan struct{}, end context.CancelCauseFunc) {
	select {
	case <-asked:
	default:
		end(failure.ErrThawed)
	}
}

// thaw lets the source go. There is no error if it has stood still until now.
func (s *source) thaw() error {
	if s.frozen == nil {
		return nil
	}
	frozen := s.frozen
	s.frozen = nil
	close(s.asked)
	if err := frozen.Thaw(); err != nil {
		return failure.During("freeze", fmt.Errorf("%w: %w", failure.ErrThawed, err))
	}
	s.account.Frozen = time.Since(s.since)
	return nil
}

// thawAfter thaws the source after all that was to be read of it was, or err came in
// between. That it moved is the whole story if the copy ended because of it.
//
// What ended before all of it was read is not consistent, however long the source stood still.
func (s *source) thawAfter(err error) error {
	frozen := s.frozen != nil
	thawed := s.thaw()
	if frozen && err != nil && !errors.Is(err, failure.ErrMismatch) && !errors.Is(err, failure.ErrUnread) {
		s.account.Frozen = 0
	}
	if thawed != nil && errors.Is(err, failure.ErrThawed) {
		return thawed
	}
	return errors.Join(err, thawed)
}

// thawed tells whether the source was frozen and moves again: nothing tells any more what
// was copied of it.
func (s *source) thawed() bool { return s.opts.Freeze != nil && s.frozen == nil }
