package dispatch_test

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// interrupted is a context that ends when a copy tells its progress for the given time.
func interrupted(opts *dispatch.Options, time int) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	opts.Progress = func(account.Progress) {
		if time--; time == 0 {
			cancel()
		}
	}
	return ctx
}

// TestSumsOfAnyReport: wherever a copy is interrupted, its report has a method for each byte
// that was copied, and a reason for each that was not offloaded (checkReport).
func TestSumsOfAnyReport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &builder{t: t}
		b.machine()
		size := remap.Sector(b.draw("size", 1, 100)) * b.unit
		src := b.volume(size, 2, false)
		dst := b.volume(size, 2, true)
		opts := dispatch.Options{
			Offload:  rapid.SampledFrom([]plan.Policy{plan.OffloadAuto, plan.OffloadNever}).Draw(t, "offload"),
			Window:   int64(b.draw("window", 1, 1024)) * 4096,
			InFlight: b.draw("in flight", 1, 4),
			Sparse:   rapid.Bool().Draw(t, "sparse"),
		}
		ctx := interrupted(&opts, b.draw("progress", 1, 30))
		rep, err := copyWith(ctx, t, b.m, src, dst, opts, b.ranges(size)...)
		if err != nil && !errors.Is(err, failure.ErrInterrupted) {
			t.Fatalf("%v, %+v", err, rep)
		}
	})
}

// TestReasonsOfHalfAWindow: what was copied of the window in which a copy was interrupted counts
// for the reasons that it was copied for.
func TestReasonsOfHalfAWindow(t *testing.T) {
	v := newVolumes(t)
	const part = volume / 8
	elsewhere := func(n remap.Sector) fakestack.Segment {
		return fakestack.Segment{Len: n, Target: fakestack.Linear{Dev: v.AddDisk(n, 512)}}
	}
	scrambled := fakestack.Segment{Len: part, Target: fakestack.Scramble{Place: fakestack.Place{Dev: v.ns, Start: dstPlace}, Len: part}}
	v.Swap(v.dst, elsewhere(part), scrambled, elsewhere(volume-2*part))
	opts := dispatch.Options{InFlight: 1}
	whole, err := v.copy(t, opts)
	if err != nil || len(whole.Reasons) != 2 || whole.Windows != 1 || whole.Reasons[1].Bytes != part.Bytes() {
		t.Fatalf("%v, %+v", err, whole)
	}
	seen := 0
	for time := 1; time < 20; time++ {
		ctx := interrupted(&opts, time)
		rep, err := copyWith(ctx, t, v.Machine, v.src, v.dst, opts)
		if err == nil {
			break
		}
		if rep == nil {
			continue // nothing was begun
		}
		// One transfer after the other is made, and this is less than one.
		disks, scrambled := reason(rep, whole.Reasons[0].Reason), reason(rep, whole.Reasons[1].Reason)
		if rep.Host > 0 && (scrambled != part.Bytes() || disks != rep.Host-scrambled) {
			t.Errorf("%+v of %d bytes", rep.Reasons, rep.Host)
		}
		if 0 < rep.Host && rep.Host < volume.Bytes() {
			seen++
		}
	}
	if seen == 0 {
		t.Error("none was interrupted in the midst of its window")
	}
}

// TestVerifyInterrupted: a comparison that somebody has ended was interrupted.
func TestVerifyInterrupted(t *testing.T) {
	v := newVolumes(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	opts := dispatch.Options{InFlight: 1, Progress: func(p account.Progress) {
		if p.Done > 0 {
			cancel(enough)
		}
	}}
	_, err := dispatch.New(v.Machine).Verify(ctx, dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}, opts)
	if !errors.Is(err, failure.ErrInterrupted) || !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}
