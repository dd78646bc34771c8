package layout

import (
	"context"
	"errors"
	"time"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/bcache"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/mdraid"
	"github.com/dmcopy/dmcopy/remap"
)

// Changes compares every device of a stack that this process read before with
// what it is now. It reads all tables but parses none. No changes mean that
// the layout is the one of the stack.
func (r *Reader) Changes(ctx context.Context, st *remap.Stack) ([]remap.Change, error) {
	var changes []remap.Change
	for _, n := range st.Nodes() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := r.change(ctx, n)
		if err != nil {
			return nil, err
		}
		if c.What != "" {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// change says what became of one device; What is empty if nothing did. Nothing is
// mapped through a device that was not read as a whole, so that it may change as it likes
// as long as it is there. A look that fails is taken again, and if that does not help, it
// tells of no device that it is what it was.
func (r *Reader) change(ctx context.Context, n *remap.Node) (remap.Change, error) {
	for attempt := 1; ; attempt++ {
		c, err := r.devices().look(n)
		switch {
		case err == nil, errors.Is(err, errDenied):
			return c, err
		case !passes(err) || attempt == r.attempts:
			c.What = "cannot be read: " + oneLine(err.Error())
			return c, nil
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(time.Duration(attempt) * r.pause):
		}
	}
}

func (d devices) look(n *remap.Node) (remap.Change, error) {
	c := remap.Change{Dev: n.Dev, Name: n.DisplayName()}
	state, err := d.fs.State(n.Dev)
	switch {
	case errors.Is(err, sysblock.ErrGone):
		c.What, c.Gone = "gone", true
		return c, nil
	case n.Unread:
		return c, nil
	case err != nil:
		return c, err
	}
	print, transition, err := d.state(n.Dev, state.Kind)
	switch {
	case errors.Is(err, dmtable.ErrNoDevice), errors.Is(err, mdraid.ErrGone), errors.Is(err, sysblock.ErrGone):
		c.What, c.Gone = "gone", true
	case err != nil:
		return c, err
	case n.Leaf != nil && n.Size > 0 && state.Size == 0:
		// It is on its way out (drivers/nvme/host/core.c, nvme_ns_remove), or has no medium any more.
		c.What, c.Gone = "gone", true
	case fingerprint(state, print) != n.Print:
		c.What = "layout changed"
	case transition != "":
		c.What, c.Moving = transition, true
	}
	return c, nil
}

// state reads what tells whether the map of a device is still the one that was
// read, and whether it is about to change.
func (d devices) state(dev remap.Dev, kind sysblock.Kind) (print remap.Fingerprint, transition string, err error) {
	switch kind {
	case sysblock.DM:
		dm, err := d.control()
		if err != nil {
			return print, "", err
		}
		s, err := dm.State(dev)
		return s.Print, s.Transition, err
	case sysblock.MD:
		s, err := mdraid.ReadState(d.fs.Root(), dev)
		return s.Print, s.Transition, err
	case sysblock.Bcache:
		s, err := bcache.ReadState(d.fs.Root(), dev)
		return s.Print, s.Transition, err
	}
	return print, "", nil
}
