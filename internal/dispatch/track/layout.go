// Package track follows the layout that a copy relies on: it plans with it, listens for its
// changes, compares it, and knows which disks are gone.
package track

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// Layout is the layout of both ends of a copy.
type Layout struct {
	machine  machine.Machine
	request  plan.Request
	patience time.Duration
	watch    machine.Watch
	plan     *plan.Plan
	missing  map[remap.Dev]string // disks that are gone, by what they are called
	log      *slog.Logger
}

// New follows nothing yet. Patience bounds the wait for a layout in transition.
func New(m machine.Machine, request plan.Request, patience time.Duration, log *slog.Logger) *Layout {
	return &Layout{machine: m, request: request, patience: patience, watch: machine.NoWatch{}, missing: make(map[remap.Dev]string), log: log}
}

// Listen begins to, if the destination is a device, which can be moved, or anything may
// be offloaded.
func (l *Layout) Listen() {
	src, dst := l.request.Src.Dev, l.request.Dst.Dev
	if !dst.IsZero() && (!plan.IsFileDev(dst) || l.request.Policy != plan.OffloadNever && !src.IsZero()) {
		l.watch = l.machine.Watch()
	}
}

// Close ends listening.
func (l *Layout) Close() error { return l.watch.Close() }

// Plan is the plan that is followed; nil before there is one.
func (l *Layout) Plan() *plan.Plan { return l.plan }

// Follow makes p the plan that is followed, and listens for changes of its devices.
func (l *Layout) Follow(p *plan.Plan) {
	l.plan = p
	if p.Layout == nil {
		return
	}
	var devs []remap.Dev
	for _, n := range p.Layout.Nodes() {
		devs = append(devs, n.Dev)
	}
	l.watch.Follow(devs)
}

// Again plans with the layout as it is now, in transition or not.
func (l *Layout) Again(ctx context.Context) (*plan.Plan, error) {
	return plan.New(ctx, l.machine, l.request)
}

// settlePoll is how often a layout in transition is looked at.
const settlePoll = 50 * time.Millisecond

// Settle takes a snapshot that is not in transition, or at least of which nothing that
// is is mapped.
func (l *Layout) Settle(ctx context.Context) (*plan.Plan, error) {
	deadline := time.Now().Add(l.patience)
	var moving *remap.Node
	for {
		p, err := l.Again(ctx)
		if err != nil && moving != nil && ctx.Err() != nil {
			return nil, interruptedBy(ctx, moving)
		}
		if err != nil {
			return nil, failure.During("plan", err)
		}
		if moving = p.InTransition(); moving == nil {
			return p, nil
		}
		if time.Now().After(deadline) {
			if moving.Unread { // whatever that is: it is copied through the kernel
				return p, nil
			}
			return nil, failure.During("plan", fmt.Errorf("%w: %s is %s", failure.ErrLayout, moving.DisplayName(), moving.Transition))
		}
		select {
		case <-ctx.Done():
			return nil, interruptedBy(ctx, moving)
		case <-time.After(settlePoll):
		}
	}
}

// interruptedBy is the end of a copy that waits for a device in transition.
func interruptedBy(ctx context.Context, moving *remap.Node) error {
	return fmt.Errorf("%w: waiting for %s, which is %s", failure.Interrupted(ctx), moving.DisplayName(), moving.Transition)
}

// Changes tells what differs from the plan now.
func (l *Layout) Changes(ctx context.Context) ([]remap.Change, error) { return l.plan.Changes(ctx) }

// HasEvent tells whether there was an event since the last call, and drops it: the caller
// compares the layout next.
func (l *Layout) HasEvent() bool {
	select {
	case <-l.watch.Events():
		return true
	default:
		return false
	}
}

// AwaitEvent waits for an event, and tells whether there was one before ctx ended.
func (l *Layout) AwaitEvent(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-l.watch.Events():
		return true
	}
}

// Explain tells what became of the devices, to explain why I/O failed: a disk
// that was unplugged says no more than that it ends early.
func (l *Layout) Explain(ctx context.Context) error {
	if l.plan.Stack == nil {
		return nil
	}
	changed, err := l.Changes(ctx)
	l.NoteMissing(changed)
	moved := remap.Moved(changed)
	switch gone := l.MissingError(); {
	case gone != nil:
		return gone
	case err == nil && len(moved) > 0:
		return fmt.Errorf("meanwhile: %v", moved)
	}
	return err
}

// WithMissing adds to the error that a copy has ended with which disks are gone.
func (l *Layout) WithMissing(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrDiskGone) {
		return err
	}
	if l.plan != nil {
		changed, _ := l.Changes(context.WithoutCancel(ctx)) // what cannot be told is not
		l.NoteMissing(changed)
	}
	return errors.Join(err, l.MissingError())
}
