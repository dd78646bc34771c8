package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestStuck: a device that takes I/O and keeps it ends no copy by itself; but
// one that is to end does, tells what it waits for, and claims nothing of what was
// under way. Once the device goes on, so does the copy where the state says.
func TestStuck(t *testing.T) {
	for name, c := range map[string]struct {
		op     string
		source bool
		number int32 // of the call
		opts   dispatch.Options
		names  string
	}{
		"first read":            {"read", true, 65, dispatch.Options{Offload: plan.OffloadNever}, "read of /dev/"}, // samples come before
		"sample":                {"read", true, 1, dispatch.Options{}, "read of /dev/"},
		"write":                 {"write", false, 3, dispatch.Options{Offload: plan.OffloadNever}, "write of /dev/"},
		"flush":                 {"flush", false, 2, dispatch.Options{}, "flush of /dev/"},
		"flush, through host":   {"flush", false, 2, dispatch.Options{Offload: plan.OffloadNever}, "flush of /dev/"},
		"read for verification": {"read", false, 1, dispatch.Options{Verify: account.VerifyFull}, "read of /dev/"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVolumes(t)
				r := newResumable(t, v)
				r.opts.Offload, r.opts.Verify = c.opts.Offload, c.opts.Verify
				want := v.expect()
				dev := v.dst
				if c.source {
					dev = v.src
				}
				var calls atomic.Int32
				v.Hooks.IO = func(op string, on remap.Dev, _, _ int64) {
					if op == c.op && on == dev && calls.Add(1) == c.number {
						v.Suspend(dev)
					}
				}
				var told atomic.Pointer[string]
				r.opts.Waiting = func(calls []inflight.Call) {
					text := inflight.Waiting(calls)
					told.Store(&text)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				began := time.Now()
				rep, err := r.run(ctx, t)
				took := time.Since(began)
				var stuck *inflight.Stuck
				if !errors.As(err, &stuck) || !errors.Is(err, inflight.ErrStuck) || !errors.Is(err, failure.ErrInterrupted) {
					t.Fatalf("%v, %+v", err, rep)
				}
				if took < 20*time.Second || took > 25*time.Second || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), "for 2") {
					t.Errorf("after %v: %v", took, err)
				}
				if told.Load() == nil || !strings.Contains(*told.Load(), c.names) {
					t.Errorf("told %v", told.Load())
				}
				if rep != nil && (rep.Result != account.OutcomeIncomplete || len(rep.Errors) != 1) {
					t.Errorf("%+v", rep)
				}
				if left := r.needed(t); rep != nil && rep.Offloaded+rep.Host+rep.Zeroed > volume.Bytes()-left {
					t.Errorf("%d bytes are missing: %+v", left, rep)
				}
				v.Hooks = fakestack.Hooks{}
				v.Resume(dev)
				synctest.Wait()
				r.needed(t)
				if _, err := r.run(context.Background(), t); err != nil {
					t.Error(err)
				}
				copied(t, want)
			})
		})
	}
}

// TestStuckWithoutCalls: who was told not to wait has left nothing behind that the kernel keeps.
func TestStuckWithoutCalls(t *testing.T) {
	told := &inflight.Stuck{Cause: failure.ErrInterrupted, GaveUp: true}
	if text := told.Error(); strings.Contains(text, "locked") || !strings.Contains(text, "stopped at once") {
		t.Error(text)
	}
	unknown := &inflight.Stuck{Cause: failure.ErrInterrupted}
	held := &inflight.Stuck{Cause: failure.ErrInterrupted, GaveUp: true, Calls: []inflight.Call{{Op: "read", On: "a"}}}
	for _, e := range []*inflight.Stuck{unknown, held} {
		if text := e.Error(); !strings.Contains(text, "the destination stays locked, and this process may be unable to exit") {
			t.Error(text)
		}
	}
}

// TestSlowIsNotStuck: a call that comes back in time is waited for.
func TestSlowIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		var once atomic.Bool
		v.Hooks.IO = func(op string, dev remap.Dev, _, _ int64) {
			if op == "write" && !once.Swap(true) {
				v.Suspend(v.dst)
				time.AfterFunc(10*time.Second, func() { v.Resume(v.dst) })
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		rep, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{Offload: plan.OffloadNever, InFlight: 1})
		if !errors.Is(err, failure.ErrInterrupted) || errors.Is(err, inflight.ErrStuck) {
			t.Errorf("%v, %+v", err, rep)
		}
	})
}

// TestCommandIsWaitedFor: commands are given up by those who issue them, not before;
// unless nobody waits any longer.
func TestCommandIsWaitedFor(t *testing.T) {
	for _, patient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			v := newVolumes(t)
			held := make(chan struct{})
			v.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault {
				if c.Opcode != nvme.OpCopy {
					return nvme.Fault{}
				}
				return nvme.Fault{Hold: held}
			})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			giveUp := make(chan struct{})
			if !patient {
				time.AfterFunc(5*time.Second, func() { close(giveUp) })
			}
			began := time.Now()
			rep, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{Window: window, Waits: dispatch.Waits{GiveUp: giveUp}})
			took := time.Since(began)
			close(held)
			synctest.Wait()
			v.loop.SetFault(nil)
			if errors.Is(err, failure.ErrFenced) != patient || errors.Is(err, inflight.ErrStuck) == patient || rep.Offloaded > 0 {
				t.Errorf("%v, %+v", err, rep)
			}
			if !patient && (took > 6*time.Second || !strings.Contains(err.Error(), "copy commands of ")) {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
}
