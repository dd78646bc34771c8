package ends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
)

// Who uses an end need not use it by that device: another loop device on the same file, another
// table of device-mapper with the same sectors, a device or a file that the end rests on.
// The kernel does not see that these have anything to do with each other, so that no claim
// meets another one. What is used on the whole machine is looked up in the tables, and
// counts if it lies where the end lies.

// A sharer is somebody who uses storage that an end lies on as well.
type sharer struct {
	inuse.Use
	// how they do, for people.
	how string
}

const (
	// sharerPatience is for those who use a device for a moment.
	sharerPatience = time.Second
	sharerPause    = 200 * time.Millisecond
)

// refuseShared refuses an end whose storage somebody uses by other means, if that counts.
func (o *opener) refuseShared(ctx context.Context, counts func(inuse.Use) bool, refusal func(sharer) error) error {
	found, err := o.lastingSharers(ctx, counts)
	if err != nil || len(found) == 0 {
		return err
	}
	return refusal(found[0])
}

// lastingSharers finds those that stay.
func (o *opener) lastingSharers(ctx context.Context, counts func(inuse.Use) bool) ([]sharer, error) {
	for began := time.Now(); ; {
		found, err := o.sharers(ctx, counts)
		if err != nil || len(found) == 0 || time.Since(began) > o.patienceFor(found) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, failure.Interrupted(ctx)
		case <-time.After(sharerPause):
		}
	}
}

// patienceFor is for how long somebody may stay: for a moment, and a command of LVM for as long
// as anything is waited for.
func (o *opener) patienceFor(found []sharer) time.Duration {
	if slices.ContainsFunc(found, func(s sharer) bool { return !s.LVM }) {
		return sharerPatience
	}
	return max(sharerPatience, o.patience)
}

// sharers finds who uses storage that the device lies on, but by the device itself or by what
// is made of it. Of a regular file, that is told by who uses the file.
func (o *opener) sharers(ctx context.Context, counts func(inuse.Use) bool) (found []sharer, err error) {
	if o.facts == nil {
		return nil, nil
	}
	used, err := inuse.Used(o.sys)
	if err != nil {
		return nil, failure.During("open", err)
	}
	used = slices.DeleteFunc(used, func(u inuse.Use) bool { return u.Dev == o.facts.Dev || !counts(u) })
	devs := []remap.Dev{o.facts.Dev}
	for _, u := range used {
		if !u.Dev.IsZero() {
			devs = append(devs, u.Dev)
		}
	}
	st, err := o.tables(ctx, devs)
	if err != nil {
		return nil, failure.During("open", err)
	}
	mine, below := st.Footprint(o.facts.Dev), st.Under(o.facts.Dev)
	for _, u := range used {
		theirs := footprintOf(st, u)
		if theirs == nil || ofItsOwn(st, used, u) {
			continue
		}
		if on, meets := mine.Overlaps(theirs); meets {
			found = append(found, sharer{u, sharedBy(u, on, below)})
		}
	}
	return found, nil
}

// footprintOf is where lies what is used; nil if that is gone.
func footprintOf(st *remap.Stack, u inuse.Use) *remap.Footprint {
	switch {
	case u.Dev.IsZero():
		return st.FootprintOf(&remap.Storage{ID: u.ID})
	case st.Node(u.Dev) == nil:
		return nil
	case u.Kind == inuse.Opened:
		return st.Footprint(u.Dev).WithoutArranged()
	}
	return st.Footprint(u.Dev)
}

// ofItsOwn tells whether another copy has a device open for writing only because it lies
// below its destination, where it has caches dropped and flushed.
func ofItsOwn(st *remap.Stack, used []inuse.Use, u inuse.Use) bool {
	return u.Own && slices.ContainsFunc(used, func(top inuse.Use) bool {
		return top.PID == u.PID && top.Dev != u.Dev && !top.Dev.IsZero() &&
			slices.ContainsFunc(st.Under(top.Dev), func(n *remap.Node) bool { return n.Dev == u.Dev })
	})
}

// sharedBy says how what is used shares storage with an end, which rests on the devices below.
func sharedBy(u inuse.Use, on *remap.Node, below []*remap.Node) string {
	inIt := func(n *remap.Node) bool {
		return n.Dev == u.Dev && !u.Dev.IsZero() || n.Storage != nil && u.Dev.IsZero() && n.Storage.ID == u.ID
	}
	switch {
	case slices.ContainsFunc(below, inIt):
		return ", on which it rests,"
	case on == nil:
		return ", of which it is not known where it lies,"
	}
	name := on.DisplayName()
	if on.Storage != nil {
		name = on.Storage.Name
	}
	return ", which shares sectors of " + name + " with it,"
}

// tables reads what devices are made of.
func (o *opener) tables(ctx context.Context, devs []remap.Dev) (*remap.Stack, error) {
	reader := layout.NewReader(layout.Options{FS: o.sys})
	s, err := reader.Tables(ctx, devs...)
	if err = errors.Join(err, reader.Close()); err != nil {
		return nil, err
	}
	return s.Stack()
}

// describeSharer says who it is, and by what it uses the storage of the end.
func (o *opener) describeSharer(s sharer) string {
	subject := o.mappedName(s.Name) + s.how
	if s.Dev.IsZero() {
		subject = "the file that it is stored in"
	}
	return describeAs(subject, s.Use)
}

// refuseSharedDestination refuses a destination whose storage anybody relies on.
func (o *opener) refuseSharedDestination(ctx context.Context) error {
	any := func(inuse.Use) bool { return true }
	return o.refuseShared(ctx, any, func(s sharer) error {
		return failure.Refuse(o.name, "is in use: %s", o.wayOutOfUse(s.Use), o.describeSharer(s))
	})
}

// refuseSharedSource refuses a source whose storage anybody may write to.
func (o *opener) refuseSharedSource(ctx context.Context) error {
	return o.refuseShared(ctx, writes, func(s sharer) error {
		return failure.Refuse(o.name, "may change while it is read: %s", o.wayToStill(s.Use), o.describeSharer(s))
	})
}

// refuseSharedFrozen refuses to freeze what anybody may write to by other means than the
// file systems on it.
func (o *opener) refuseSharedFrozen(ctx context.Context, uses []inuse.Use) error {
	counts := func(u inuse.Use) bool {
		known := func(k inuse.Use) bool { return k.Dev == u.Dev && !u.Dev.IsZero() }
		return writes(u) && !slices.ContainsFunc(uses, known)
	}
	return o.refuseShared(ctx, counts, func(s sharer) error {
		return failure.Refuse(o.name, "cannot be frozen: %s", anotherWay, o.describeSharer(s))
	})
}

func writes(u inuse.Use) bool { return u.Kind.Writes() }

// stillUnused fails with ErrTaken if the destination, which nobody used when it was opened, is used by
// now: a loop device claims neither the file nor the device that it is stored in. Who has
// opened it for writing may have done so for a moment, and is told of.
func (o *opener) stillUnused(ctx context.Context, log *slog.Logger) error {
	uses, err := o.uses()
	var shared []sharer
	if err == nil {
		shared, err = o.lastingSharers(ctx, func(u inuse.Use) bool { return u.Kind != inuse.Opened })
	}
	var stored []sharer
	if err == nil {
		stored, err = o.sharers(ctx, openedFile)
	}
	if err != nil {
		log.Debug("whether somebody uses the destination by now was not found out", "error", err)
		return nil
	}
	var taken users
	for _, u := range uses {
		switch u.Kind {
		case inuse.Opened:
			log.Warn("somebody has opened the destination for writing while it was written", "destination", o.name, "who", u.Detail)
			continue
		case inuse.Unseen, inuse.Locked, inuse.LockedRO: // this copy has it open itself
			continue
		}
		taken.add(o.describe(u), o.wayOutOfUse(u))
	}
	for _, s := range stored {
		log.Warn("somebody has opened the file that the destination is stored in for writing while it was written", "destination", o.name, "who", s.Detail)
	}
	for _, s := range shared {
		taken.add(o.describeSharer(s), o.wayOutOfUse(s.Use))
	}
	return taken.fail(o.name, failure.ErrTaken)
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
func (o *opener) stillUnwritten(ctx context.Context, log *slog.Logger) error {
	uses, err := o.uses()
	var shared []sharer
	if err == nil {
		shared, err = o.lastingSharers(ctx, func(u inuse.Use) bool { return writes(u) && u.Kind != inuse.Opened })
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
			log.Warn("somebody has opened the source for writing while it was copied", "source", o.name, "who", u.Detail)
		default:
			writers.add(o.describe(u), o.wayOutOfUse(u))
		}
	}
	for _, s := range shared {
		writers.add(o.describeSharer(s), o.wayOutOfUse(s.Use))
	}
	return writers.fail(o.name, failure.ErrSourceChanged)
}
