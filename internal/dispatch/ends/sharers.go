package ends

import (
	"context"
	"errors"
	"slices"
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

// sharing is what others have in common with an end.
type sharing struct{ *opener }

// refuse refuses an end whose storage somebody uses by other means, if that counts.
func (s sharing) refuse(ctx context.Context, counts func(inuse.Use) bool, refusal func(sharer) error) error {
	found, err := s.lasting(ctx, counts)
	if err != nil || len(found) == 0 {
		return err
	}
	return refusal(found[0])
}

// lasting finds those that stay.
func (s sharing) lasting(ctx context.Context, counts func(inuse.Use) bool) ([]sharer, error) {
	for began := time.Now(); ; {
		found, err := s.search(ctx, counts)
		if err != nil || len(found) == 0 || time.Since(began) > s.patienceFor(found) {
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
func (s sharing) patienceFor(found []sharer) time.Duration {
	if slices.ContainsFunc(found, func(by sharer) bool { return !by.LVM }) {
		return sharerPatience
	}
	return max(sharerPatience, s.patience)
}

// search finds who uses storage that the device lies on, but by the device itself or by what
// is made of it. Of a regular file, that is told by who uses the file.
func (s sharing) search(ctx context.Context, counts func(inuse.Use) bool) (found []sharer, err error) {
	if s.facts == nil {
		return nil, nil
	}
	used, err := inuse.Used(s.sys)
	if err != nil {
		return nil, failure.During("open", err)
	}
	used = slices.DeleteFunc(used, func(u inuse.Use) bool { return u.Dev == s.facts.Dev || !counts(u) })
	devs := []remap.Dev{s.facts.Dev}
	for _, u := range used {
		if !u.Dev.IsZero() {
			devs = append(devs, u.Dev)
		}
	}
	st, err := s.tables(ctx, devs)
	if err != nil {
		return nil, failure.During("open", err)
	}
	mine, below := st.Footprint(s.facts.Dev), st.Under(s.facts.Dev)
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
func (s sharing) tables(ctx context.Context, devs []remap.Dev) (*remap.Stack, error) {
	reader := layout.NewReader(layout.Options{FS: s.sys})
	snapshot, err := reader.Tables(ctx, devs...)
	if err = errors.Join(err, reader.Close()); err != nil {
		return nil, err
	}
	return snapshot.Stack()
}

// who says who it is, and by what it uses the storage of the end.
func (s sharing) who(by sharer) string {
	subject := mappedName(s.sys, by.Name) + by.how
	if by.Dev.IsZero() {
		subject = "the file that it is stored in"
	}
	return describeAs(subject, by.Use)
}

// refuseDestination refuses a destination whose storage anybody relies on.
func (s sharing) refuseDestination(ctx context.Context) error {
	any := func(inuse.Use) bool { return true }
	return s.refuse(ctx, any, func(by sharer) error {
		return failure.Refuse(s.name, "is in use: %s", wayOutOfUse(by.Use), s.who(by))
	})
}

// refuseSource refuses a source whose storage anybody may write to.
func (s sharing) refuseSource(ctx context.Context) error {
	return s.refuse(ctx, writes, func(by sharer) error {
		return failure.Refuse(s.name, "may change while it is read: %s", wayToStill(by.Use), s.who(by))
	})
}

// refuseFrozen refuses to freeze what anybody may write to by other means than the
// file systems on it.
func (s sharing) refuseFrozen(ctx context.Context, uses []inuse.Use) error {
	counts := func(u inuse.Use) bool {
		known := func(k inuse.Use) bool { return k.Dev == u.Dev && !u.Dev.IsZero() }
		return writes(u) && !slices.ContainsFunc(uses, known)
	}
	return s.refuse(ctx, counts, func(by sharer) error {
		return failure.Refuse(s.name, "cannot be frozen: %s", anotherWay, s.who(by))
	})
}

func writes(u inuse.Use) bool { return u.Kind.Writes() }
