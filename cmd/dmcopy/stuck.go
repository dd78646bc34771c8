package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/background"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
)

// waiting says what a copy waits for that is to end.
func (a *app) waiting(calls []inflight.Call) {
	a.note("%v: %s", inflight.ErrStuck, inflight.Waiting(calls))
}

// openWait and closeWait bound calls that take no time at all where nothing is wrong.
const (
	openWait  = 2 * time.Second
	closeWait = 15 * time.Second
)

// within returns what do returns, or, a moment after the end of ctx, that it is
// stuck.
func within[T any](ctx context.Context, what string, do func() (T, error)) (T, error) {
	call := background.Start(do)
	if call.EndsBefore(ctx) {
		return call.Result()
	}
	late, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	if call.EndsBefore(late) {
		return call.Result()
	}
	var none T
	return none, fmt.Errorf("%w: %s", inflight.ErrStuck, what)
}

// release closes everything that a copy has used. What was done is to be reported
// even if that hangs.
func release(job dispatch.Job, closeWorld func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	what := fmt.Sprintf("closing of %s and %s", job.Src.Name, job.Dst.Name)
	_, err := within(ctx, what, func() (struct{}, error) {
		return struct{}{}, errors.Join(job.Dst.Close(), job.Src.Close(), closeWorld())
	})
	return err
}
