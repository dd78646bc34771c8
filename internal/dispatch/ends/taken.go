package ends

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
)

// An end was used by nobody when it was opened. Who uses it by the end of the copy is looked for
// once more.

// stillUnused fails with ErrTaken if the destination, which nobody used when it was opened, is used by
// now: a loop device claims neither the file nor the device that it is stored in. Who has
// opened it for writing may have done so for a moment, and is told of.
func (s sharing) stillUnused(ctx context.Context, log *slog.Logger) error {
	uses, err := s.uses()
	var shared []sharer
	if err == nil {
		shared, err = s.lasting(ctx, func(u inuse.Use) bool { return u.Kind != inuse.Opened })
	}
	var stored []sharer
	if err == nil {
		stored, err = s.search(ctx, openedFile)
	}
	if err != nil {
		log.Debug("whether somebody uses the destination by now was not found out", "error", err)
		return nil
	}
	var taken users
	for _, u := range uses {
		switch u.Kind {
		case inuse.Opened:
			log.Warn("somebody has opened the destination for writing while it was written", "destination", s.name, "who", u.Detail)
			continue
		case inuse.Unseen, inuse.Locked, inuse.LockedRO: // this copy has it open itself
			continue
		}
		taken.add(s.describe(u), wayOutOfUse(u))
	}
	for _, by := range stored {
		log.Warn("somebody has opened the file that the destination is stored in for writing while it was written", "destination", s.name, "who", by.Detail)
	}
	for _, by := range shared {
		taken.add(s.who(by), wayOutOfUse(by.Use))
	}
	return taken.fail(s.name, failure.ErrTaken)
}

// openedFile tells whether somebody has a file open for writing.
func openedFile(u inuse.Use) bool { return u.Kind == inuse.Opened && u.Dev.IsZero() }

// users are who must not use an end, and what can be done about them.
type users struct{ texts, ways []string }

func (u *users) add(text, way string) { u.texts, u.ways = append(u.texts, text), append(u.ways, way) }

// fail is nil if there are none.
func (u *users) fail(name string, kind error) error {
	if len(u.texts) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: %s: %s, and copy again", name, kind, strings.Join(u.texts, ", and "), strings.TrimSuffix(u.ways[0], " first"))
}

// stillUnwritten fails with ErrSourceChanged if somebody may write to a source by now to which nobody
// could when it was opened: swap space is written to without a trace in the times of its file. Who
// has opened it for writing may have done so for a moment, and is told of: what is written to a
// file shows.
func (s sharing) stillUnwritten(ctx context.Context, log *slog.Logger) error {
	uses, err := s.uses()
	var shared []sharer
	if err == nil {
		shared, err = s.lasting(ctx, func(u inuse.Use) bool { return writes(u) && u.Kind != inuse.Opened })
	}
	if err != nil {
		log.Debug("whether somebody may write to the source by now was not found out", "error", err)
		return nil
	}
	var writers users
	for _, u := range uses {
		switch {
		case !writes(u), u.Kind == inuse.Unseen, u.Kind == inuse.Locked, u.Kind == inuse.Output:
		case u.Kind == inuse.Opened:
			log.Warn("somebody has opened the source for writing while it was copied", "source", s.name, "who", u.Detail)
		default:
			writers.add(s.describe(u), wayOutOfUse(u))
		}
	}
	for _, by := range shared {
		writers.add(s.who(by), wayOutOfUse(by.Use))
	}
	return writers.fail(s.name, failure.ErrSourceChanged)
}
