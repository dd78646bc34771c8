package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// damage makes sectors of the source volume unreadable, and returns what the
// copy of it should be, with whole blocks of zeroes there.
func (v *volumes) damage(block int64, sectors ...remap.Sector) []byte {
	want := v.Content(v.src, 0, volume)
	for _, s := range sectors {
		v.FailReads(v.ns, srcPlace+s, unix.EIO)
		first := s.Bytes() &^ (block - 1)
		clear(want[first : first+block])
	}
	return want
}

// TestUnreadable: what cannot be read is zeroes, and told; everything around it is
// copied.
func TestUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		block int
		opts  dispatch.Options
	}{
		"offloaded":     {512, dispatch.Options{Window: window}},
		"host":          {512, dispatch.Options{Offload: plan.OffloadNever}},
		"4096":          {4096, dispatch.Options{Window: window}},
		"4096 host":     {4096, dispatch.Options{Offload: plan.OffloadNever, Sparse: true}},
		"verified":      {512, dispatch.Options{Verify: account.VerifyFull}},
		"few in flight": {512, dispatch.Options{InFlight: 1, Verify: account.VerifySample}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVolumesOn(t, fakestack.Namespace{Block: c.block, Limits: fakestack.Roomy})
			around := v.expect()
			block := int64(c.block)
			want := v.damage(block, 0, 1000, 1001, 2048, volume-1)
			c.opts.OnError = hostcopy.OnErrorContinue
			rep, err := v.copy(t, c.opts)
			if !errors.Is(err, failure.ErrUnread) || rep.Result != account.OutcomeIncomplete {
				t.Fatalf("%v, %+v", err, rep)
			}
			if !bytes.Equal(v.Content(v.dst, 0, volume), want) {
				t.Error("the copy is not the source with zeroes where it is unreadable")
			}
			bad := []account.Bad{
				{Src: 0, Dst: 0, Len: block}, {Src: 1000 * sector &^ (block - 1), Dst: 1000 * sector &^ (block - 1), Len: max(2*sector, block)},
				{Src: 2048 * sector, Dst: 2048 * sector, Len: block},
				{Src: volume.Bytes() - block, Dst: volume.Bytes() - block, Len: block},
			}
			var failed int64
			for i := range bad {
				bad[i].Why = unix.EIO.Error()
				failed += bad[i].Len
			}
			if !slices.Equal(rep.Bad, bad) || rep.Failed != failed {
				t.Errorf("%+v", rep)
			}
			v.Crash()
			if !bytes.Equal(v.Content(v.dst, 0, volume), want) {
				t.Error("not durable")
			}
			untouched(t, around)
		})
	}
}

// TestRandomDamage copies ranges of sources with random bad sectors.
func TestRandomDamage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := makeVolumes(fakestack.Namespace{Limits: fakestack.Roomy})
		defer v.end(rt)
		around := v.expect()
		places := rapid.SliceOfN(rapid.Int64Range(0, int64(volume)-1), 0, 30).Draw(rt, "bad")
		sectors := make([]remap.Sector, len(places))
		for i, s := range places {
			sectors[i] = remap.Sector(s)
		}
		was := v.Content(v.dst, 0, volume)
		from := v.damage(sector, sectors...)
		cut := rapid.Int64Range(1, int64(volume)-1).Draw(rt, "cut") * sector
		gap := rapid.Int64Range(0, min(cut, volume.Bytes()-cut)/sector-1).Draw(rt, "gap") * sector
		// The two halves change places, and a part is left out.
		ranges := []byterange.Range{{Src: 0, Dst: volume.Bytes() - cut, Len: cut - gap}, {Src: cut, Dst: 0, Len: volume.Bytes() - cut - gap}}
		want := bytes.Clone(was)
		bad := 0
		for _, g := range ranges {
			copy(want[g.Dst:][:g.Len], from[g.Src:][:g.Len])
			for _, s := range slices.Compact(slices.Sorted(slices.Values(sectors))) {
				if s.Bytes() >= g.Src && s.Bytes() < g.Src+g.Len {
					bad += sector
				}
			}
		}
		rep, err := copyOf(rt, v.Machine, v.src, v.dst, dispatch.Options{
			OnError: hostcopy.OnErrorContinue, Window: rapid.Int64Range(1, 8).Draw(rt, "window") * 64 * kib,
			Offload: rapid.SampledFrom([]plan.Policy{plan.OffloadAuto, plan.OffloadNever}).Draw(rt, "offload"),
			Verify:  rapid.SampledFrom([]account.Verify{account.VerifyNone, account.VerifyFull}).Draw(rt, "verify"),
			Sparse:  rapid.Bool().Draw(rt, "sparse"),
		}, ranges...)
		if errors.Is(err, failure.ErrUnread) != (bad > 0) || err != nil && bad == 0 || rep.Failed != int64(bad) {
			rt.Fatalf("%v, %+v", err, rep)
		}
		if !bytes.Equal(v.Content(v.dst, 0, volume), want) {
			rt.Fatal("the copy is not what it should be")
		}
		untouched(rt, around)
	})
}

// TestReadAgain: what could not be read is tried again when the copy goes on, and
// nothing else is copied again.
func TestReadAgain(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	c.opts.OnError = hostcopy.OnErrorContinue
	want := c.Expect(c.src, c.dst)
	c.damage(sector, 700, 701, 2000)
	for range 2 {
		if rep, err := c.run(context.Background(), t); !errors.Is(err, failure.ErrUnread) {
			t.Fatalf("%v, %+v", err, rep)
		}
		s, err := journal.Read(c.path)
		if err != nil || s.Stage != journal.Copying || s.Map.Bytes(journal.Bad) != 3*sector || s.Map.Bytes(journal.Done) != volume.Bytes()-3*sector {
			t.Fatalf("%v, %+v", err, s)
		}
	}
	c.FailReads(c.ns, srcPlace+700, nil)
	if rep, err := c.run(context.Background(), t); !errors.Is(err, failure.ErrUnread) || rep.Failed != 2*sector || rep.Offloaded+rep.Host != sector {
		t.Fatalf("%v, %+v", err, rep)
	}
	c.FailReads(c.ns, srcPlace+701, nil)
	c.FailReads(c.ns, srcPlace+2000, nil)
	if rep, err := c.run(context.Background(), t); err != nil || rep.Offloaded+rep.Host != 2*sector {
		t.Fatalf("%v, %+v", err, rep)
	}
	copied(t, want)
}

// sick is a device on which some transfer fails.
type sick struct {
	emulation.Device
	read, write error
}

func (s sick) ReadAt(p []byte, off int64) (int, error) {
	if s.read != nil && off <= mib && mib < off+int64(len(p)) {
		return 0, s.read
	}
	return s.Device.ReadAt(p, off)
}

func (s sick) WriteAt(p []byte, off int64) (int, error) {
	if s.write != nil && off <= mib && mib < off+int64(len(p)) {
		return 0, s.write
	}
	return s.Device.WriteAt(p, off)
}

// TestUnbearable: nothing else than sectors of the source that cannot be read is
// put up with.
func TestUnbearable(t *testing.T) {
	for name, c := range map[string]struct{ src, dst sick }{
		"gone":                   {sick{read: unix.ENXIO}, sick{}},
		"timeout":                {sick{read: unix.ETIMEDOUT}, sick{}},
		"written":                {sick{}, sick{write: unix.EIO}},
		"zeroes cannot be there": {sick{read: unix.EIO}, sick{write: unix.EIO}},
	} {
		v := newVolumes(t)
		job := dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}
		c.src.Device, c.dst.Device = job.Src.Device, job.Dst.Device
		job.Src.Device, job.Dst.Device = c.src, c.dst
		opts := dispatch.Options{Offload: plan.OffloadNever, OnError: hostcopy.OnErrorContinue}
		if c.src.read == unix.EIO {
			c.dst.Device = zeroless{c.dst.Device}
			job.Dst.Device = c.dst
		}
		rep, err := dispatch.New(v).Copy(context.Background(), job, opts)
		checkReport(t, rep, err)
		if err == nil || errors.Is(err, failure.ErrUnread) || rep.Result != account.OutcomeFailed {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
	}
}

// zeroless is a device that cannot make zeroes by itself.
type zeroless struct{ emulation.Device }

func (zeroless) Zero(int64, int64) error { return errors.ErrUnsupported }

// TestVanished: a disk that is gone is no disk of bad sectors.
func TestVanished(t *testing.T) {
	v := newVolumes(t)
	job := dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}
	job.Src.Device = sick{job.Src.Device, unix.EIO, nil}
	v.Hooks.IO = func(op string, dev remap.Dev, off, _ int64) {
		if op == "write" {
			v.Swap(v.src, fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: v.ns, Start: spare}})
		}
	}
	rep, err := dispatch.New(v).Copy(context.Background(), job, dispatch.Options{Offload: plan.OffloadNever, OnError: hostcopy.OnErrorContinue, InFlight: 1})
	if err == nil || errors.Is(err, failure.ErrUnread) || len(rep.Bad) > 0 {
		t.Errorf("%v, %+v", err, rep)
	}
}
