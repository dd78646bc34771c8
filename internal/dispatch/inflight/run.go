package inflight

import (
	"context"
	"time"

	"github.com/dmcopy/dmcopy/internal/background"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// Options say what is done while a call does not come back.
type Options struct {
	// Waiting is told which calls have not come back although the context has ended.
	Waiting func([]Call)
	// GiveUp is closed when nobody waits for them any longer; it may be nil.
	GiveUp <-chan struct{}
	// Abandoned is called when the calls are left behind.
	Abandoned func()
}

// Run returns what do returns. If ctx has ended, and do waits for calls that do not come
// back, Run leaves do behind and returns a *Stuck.
func Run[T any](ctx context.Context, calls *Calls, o Options, do func() (T, error)) (T, error) {
	call := background.Start(do)
	if call.EndsBefore(ctx) {
		return call.Result()
	}
	if stuck := calls.outlast(call.Ended(), o); stuck != nil {
		o.Abandoned()
		var none T
		stuck.Cause = failure.Interrupted(ctx)
		return none, stuck
	}
	return call.Result()
}

// outlast waits until do has ended. It returns the calls that it was waiting for if it
// gives up.
func (c *Calls) outlast(ended <-chan struct{}, o Options) *Stuck {
	asked := time.Now()
	tick := time.NewTicker(noticeAfter)
	defer tick.Stop()
	for told := false; ; told = true {
		select {
		case <-ended:
			return nil
		case <-o.GiveUp:
			return &Stuck{Calls: c.UnderWay(), GaveUp: true}
		case now := <-tick.C:
			if !told {
				o.Waiting(c.UnderWay())
			}
			if !now.Before(c.until(asked)) {
				return &Stuck{Calls: c.UnderWay()}
			}
		}
	}
}
