package inflight

import (
	"context"
	"time"

	"github.com/dmcopy/dmcopy/internal/background"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// Attention says what becomes of whoever waits.
type Attention struct {
	// Waiting is told what is waited for that does not end although the context has.
	Waiting func([]Call)
	// GiveUp is closed when it is not waited for any longer; it may be nil.
	GiveUp <-chan struct{}
	// Left is called when calls are left behind.
	Left func()
}

// Attend returns what do returns. If ctx has ended, and do waits for calls that do
// not come back, it is left behind, and the error is a *Stuck.
func Attend[T any](ctx context.Context, calls *Calls, a Attention, do func() (T, error)) (T, error) {
	call := background.Start(do)
	if call.EndsBefore(ctx) {
		return call.Result()
	}
	if stuck := calls.outlast(call.Ended(), a); stuck != nil {
		a.Left()
		var none T
		stuck.Cause = failure.Interrupted(ctx)
		return none, stuck
	}
	return call.Result()
}

// outlast waits for an end that was asked for. It returns what is waited for if that is
// given up.
func (v *Calls) outlast(ended <-chan struct{}, a Attention) *Stuck {
	asked := time.Now()
	tick := time.NewTicker(noticeAfter)
	defer tick.Stop()
	for told := false; ; told = true {
		select {
		case <-ended:
			return nil
		case <-a.GiveUp:
			return &Stuck{Calls: v.UnderWay(), Told: true}
		case now := <-tick.C:
			if !told {
				a.Waiting(v.UnderWay())
			}
			if !now.Before(v.until(asked)) {
				return &Stuck{Calls: v.UnderWay()}
			}
		}
	}
}
