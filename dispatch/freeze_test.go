package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
)

// water is a file system that can be frozen, and a diary of what happens.
type water struct {
	diary []string
	over  chan struct{}
	// cold and warm are what freezing and thawing come to.
	cold, warm error
	frozen     bool
}

func (w *water) note(what string) { w.diary = append(w.diary, what) }

func (w *water) freeze(context.Context) (ends.Frozen, error) {
	w.note("freeze")
	if w.cold != nil {
		return nil, w.cold
	}
	w.over, w.frozen = make(chan struct{}), true
	return w, nil
}

func (w *water) Thawed() <-chan struct{} { return w.over }

func (w *water) Thaw() error {
	w.note("thaw")
	if w.frozen {
		w.melt()
	}
	return w.warm
}

func (w *water) melt() {
	w.frozen = false
	close(w.over)
}

// frozenVolumes are volumes whose source must be frozen when it is looked at.
func frozenVolumes(t *testing.T, opts *dispatch.Options) (*volumes, *water) {
	v, w := newVolumes(t), &water{}
	opts.Freeze = w.freeze
	last := ""
	opts.Progress = func(p account.Progress) {
		if what := string(p.Phase); what != last {
			w.note(what)
			last = what
		}
	}
	return v, w
}

// TestFreezeFirst: the source is frozen before its layout is read, and until it is
// read no more; the flush of the destination keeps nobody waiting.
func TestFreezeFirst(t *testing.T) {
	for verify, want := range map[account.Verify][]string{
		account.VerifyNone: {"freezing", "freeze", "scanning", "copying", "thaw", "flushing"},
		account.VerifyFull: {"freezing", "freeze", "scanning", "copying", "flushing", "verifying", "thaw"},
	} {
		opts := dispatch.Options{Verify: verify}
		v, w := frozenVolumes(t, &opts)
		rep := v.mustCopy(t, opts)
		if !slices.Equal(w.diary, want) {
			t.Errorf("%s: %q, want %q", verify, w.diary, want)
		}
		if rep.Frozen <= 0 {
			t.Errorf("%+v", rep)
		}
	}
}

// TestFreezeFails: then nothing is written.
func TestFreezeFails(t *testing.T) {
	opts := dispatch.Options{}
	v, w := frozenVolumes(t, &opts)
	w.cold = unix.EBUSY
	want := v.expect()
	rep, err := v.copy(t, opts)
	if rep != nil || !errors.Is(err, unix.EBUSY) || !slices.Equal(w.diary, []string{"freezing", "freeze"}) {
		t.Errorf("%+v, %v, %q", rep, err, w.diary)
	}
	untouched(t, want)
}

// TestRefusedFrozen: what is refused once the source is frozen thaws it.
func TestRefusedFrozen(t *testing.T) {
	opts := dispatch.Options{Offload: plan.OffloadRequire}
	v, w := frozenVolumes(t, &opts)
	v.src = v.AddDisk(volume, sector)
	want := v.expect()
	if rep, err := v.copy(t, opts); rep != nil || !errors.Is(err, failure.ErrPolicy) {
		t.Errorf("%+v, %v", rep, err)
	}
	if !slices.Equal(w.diary, []string{"freezing", "freeze", "scanning", "thaw"}) {
		t.Errorf("%q", w.diary)
	}
	untouched(t, want)
}

// TestThawFails: a copy of a source that somebody has thawed is none, although every
// byte was copied.
func TestThawFails(t *testing.T) {
	for _, verify := range []account.Verify{account.VerifyNone, account.VerifyFull} {
		opts := dispatch.Options{Verify: verify}
		v, w := frozenVolumes(t, &opts)
		w.warm = unix.EINVAL
		rep, err := v.copy(t, opts)
		if !errors.Is(err, failure.ErrThawed) || !errors.Is(err, unix.EINVAL) || rep.Frozen != 0 || rep.Result != account.OutcomeIncomplete {
			t.Errorf("%s: %+v, %v", verify, rep, err)
		}
	}
}

// TestThawedTooEarly: the copy ends at once, and is no interruption by the user.
func TestThawedTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := dispatch.Options{Pacing: dispatch.Pacing{Rate: func() int64 { return 64 * kib }}}
		v, w := frozenVolumes(t, &opts)
		w.warm = unix.ETIME
		began := time.Now()
		time.AfterFunc(5*time.Second, w.melt)
		rep, err := v.copy(t, opts)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if !errors.Is(err, failure.ErrThawed) || !errors.Is(err, unix.ETIME) || errors.Is(err, failure.ErrInterrupted) {
			t.Error(err)
		}
		if rep.Host+rep.Offloaded == 0 || rep.Frozen != 0 || rep.Result != account.OutcomeIncomplete {
			t.Errorf("%+v", rep)
		}
	})
}

// TestThawedAnywhere: whatever a copy does when its source is thawed, that is why it
// ends; nobody has interrupted it.
func TestThawedAnywhere(t *testing.T) {
	for _, phase := range []account.Phase{account.PhaseScanning, account.PhaseCopying, account.PhaseFlushing, account.PhaseVerifying} {
		t.Run(string(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := dispatch.Options{Verify: account.VerifyFull}
				v, w := frozenVolumes(t, &opts)
				opts.Progress = func(p account.Progress) {
					if p.Phase == phase && w.frozen {
						w.warm = unix.ETIME
						w.melt()
						synctest.Wait()
					}
				}
				want := v.expect()
				rep, err := v.copy(t, opts)
				if !errors.Is(err, failure.ErrThawed) || !errors.Is(err, unix.ETIME) || errors.Is(err, failure.ErrInterrupted) || errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if phase == account.PhaseScanning {
					untouched(t, want)
				}
				if (rep == nil) != (phase == account.PhaseScanning) || rep != nil && (rep.Frozen != 0 || rep.Result != account.OutcomeIncomplete) {
					t.Errorf("%+v", rep)
				}
			})
		})
	}
}

// TestInterruptThaws: so does every other end.
func TestInterruptThaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := dispatch.Options{Pacing: dispatch.Pacing{Rate: func() int64 { return 0 }}}
		v, w := frozenVolumes(t, &opts)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		rep, err := copyWith(ctx, t, v.Machine, v.src, v.dst, opts)
		if !errors.Is(err, failure.ErrInterrupted) || errors.Is(err, failure.ErrThawed) || w.frozen {
			t.Errorf("%v, %q", err, w.diary)
		}
		if rep == nil || rep.Frozen != 0 { // not until all of it was read
			t.Errorf("%+v", rep)
		}
	})
}

// TestFrozenAgain: what an earlier run has copied of another moment is compared, and
// copied again where it is not what the source holds by now.
func TestFrozenAgain(t *testing.T) {
	for _, changed := range []struct{ at, n remap.Sector }{{0, 1}, {3, 5}, {0, volume}, {}} {
		t.Run(fmt.Sprint(changed), func(t *testing.T) {
			c := newResumable(t, newVolumes(t))
			w := &water{warm: unix.ETIME}
			c.opts.Freeze, c.opts.LiveSource = w.freeze, true
			c.Hooks.Release = func(n int) {
				if n == 4 {
					w.melt()
				}
			}
			if _, err := c.run(context.Background(), t); !errors.Is(err, failure.ErrThawed) {
				t.Fatal(err)
			}
			s, err := journal.Read(c.path)
			if err != nil || s.Map.Bytes(journal.Done) == 0 {
				t.Fatalf("nothing was done: %v", err)
			}
			done := s.Map.Bytes(journal.Done)
			c.Fill(c.src, changed.at, bytes.Repeat([]byte{0xa5}, int(changed.n.Bytes())))
			c.Hooks.Release, w.warm = nil, nil
			want := c.expect()
			rep, err := c.run(context.Background(), t)
			if err != nil {
				t.Fatal(err)
			}
			copied(t, want)
			if rep.Frozen <= 0 || (changed.n == 0) != (rep.Skipped == done) {
				t.Errorf("%d bytes were done: %+v", done, rep)
			}
		})
	}
}
