package offload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
)

// While the commands of a window are under way, the hold is extended, and the layout is
// compared as soon as there is an event, and not only when the last command is back.
// If it is not the planned one, no further command is begun: somebody may be waiting for
// the hold to end, and what is read from where the source was is of no use. What
// was not begun stays to be copied, and is planned anew.
//
// That is all that an event does. The window is compared before its first command
// and after its last one, whether there was an event or not.

// extendEvery is how often the expiry of a hold is looked after while commands
// are in flight.
const extendEvery = time.Second

// extend extends the hold until stop is called, which tells whether it was kept.
// It does so even if the copy is being ended, because commands that are in
// flight come back when they like. If extending fails, stop keeps further
// commands from being issued.
func extend(held hold.Held, stop context.CancelCauseFunc) (stopped func() error) {
	over := make(chan struct{})
	kept := make(chan error, 1)
	go func() {
		tick := time.NewTicker(extendEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				kept <- nil
				return
			case <-tick.C:
				if err := held.Extend(); err != nil {
					stop(err)
					kept <- err
					return
				}
			}
		}
	}()
	return func() error {
		close(over)
		return <-kept
	}
}

// lookPause lies between two looks, so that much noise costs little.
const lookPause = 50 * time.Millisecond

// errCut ends the issuing of a window whose layout is not the planned one.
var errCut = errors.New("the layout changes")

// watchLayout compares the layout whenever there is an event, until stop is called or cut
// had to be. What was seen then has been, even if all is as planned by the end.
func (o *Offloader) watchLayout(ctx context.Context, cut context.CancelCauseFunc) (stopped func() []remap.Change) {
	if o.opts.InOrder {
		return func() []remap.Change { return nil }
	}
	ctx, stop := context.WithCancel(ctx)
	seen := make(chan []remap.Change, 1)
	go func() {
		defer close(seen)
		for o.layout.AwaitEvent(ctx) {
			o.account.Count(account.Looks, 1)
			changed, err := o.layout.Changes(ctx)
			if len(changed) > 0 || err != nil && ctx.Err() == nil {
				o.account.Count(account.Cuts, 1)
				o.log.Debug("cutting a window short", "changes", fmt.Sprint(changed), "error", err)
				seen <- changed
				cut(errCut)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(lookPause):
			}
		}
	}()
	return func() []remap.Change {
		stop()
		return <-seen
	}
}
