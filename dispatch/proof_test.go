package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// mostReadBack is how many bytes the proof of a pair may read, at both ends.
const mostReadBack = 4096 * sector

// equalContents give source and destination equal contents in some way before the copy.
var equalContents = map[string]func(v *volumes){
	"different":             func(v *volumes) {},
	"the same again":        func(v *volumes) { v.Fill(v.dst, 0, v.Content(v.src, 0, volume)) },
	"zeroes over others":    func(v *volumes) { v.Fill(v.src, 0, make([]byte, volume.Bytes())) },
	"zeroes onto zeroes":    func(v *volumes) { v.zero(0, volume) },
	"zeroes up to the end":  func(v *volumes) { v.zero(0, volume-8) },
	"ones onto ones":        func(v *volumes) { v.both(0, bytes.Repeat([]byte{0xFF}, int(volume.Bytes()))) },
	"the same, and zeroes":  func(v *volumes) { v.Fill(v.dst, 0, v.Content(v.src, 0, volume)); v.zero(0, volume/2) },
	"zeroes but for middle": func(v *volumes) { v.zero(0, volume/2-8); v.zero(volume/2+8, volume/2-8) },
}

// zero makes a part of both volumes zeroes.
func (v *volumes) zero(start, n remap.Sector) { v.both(start, make([]byte, n.Bytes())) }

func (v *volumes) both(start remap.Sector, data []byte) {
	v.Fill(v.src, start, data)
	v.Fill(v.dst, start, data)
}

// TestProofTells: whatever the data, an honest pair is trusted after a little was read
// back, and nothing is copied through the host.
func TestProofTells(t *testing.T) {
	for name, make := range equalContents {
		for _, size := range []int64{64 * kib, 512 * kib, 2 * mib} {
			v := newVolumes(t)
			make(v)
			rep := v.mustCopy(t, dispatch.Options{Window: size})
			if rep.Offloaded != rep.Total || rep.Redone > 0 || rep.ReadBack == 0 || rep.ReadBack > mostReadBack {
				t.Errorf("%s in windows of %d: %+v", name, size, rep)
			}
		}
	}
}

// TestProofOfEqualFindsOut: a device that copies nothing is found out by its first
// command, whatever the data.
func TestProofOfEqualFindsOut(t *testing.T) {
	for name, make := range equalContents {
		v := newVolumes(t)
		make(v)
		v.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Silent: true} })
		rep := v.mustCopy(t, dispatch.Options{Window: 512 * kib})
		if rep.Offloaded != 0 || reason(rep, plan.ReasonProofFailed) != rep.Total || rep.Commands != 1 {
			t.Errorf("%s: %+v", name, rep)
		}
	}
}

// TestProofLooksForMore: zeroes that arrive do not tell where they were read: a device
// that writes nothing else is found out by the first window that has something else.
func TestProofLooksForMore(t *testing.T) {
	v := newVolumes(t)
	v.Fill(v.src, 0, make([]byte, volume.Bytes()/2))
	v.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Silent: true} })
	v.Hooks.Landed = func(_ int, c *nvme.Command) {
		if c.Opcode == nvme.OpCopy {
			v.Fill(v.ns, remap.Sector(c.CDW10), make([]byte, 64*kib))
		}
	}
	rep, err := v.copy(t, dispatch.Options{Window: 512 * kib})
	if err != nil || reason(rep, plan.ReasonProofFailed) != volume.Bytes()/2 {
		t.Errorf("%v, %+v", err, rep)
	}
	if !bytes.Equal(v.Content(v.src, volume/2, volume/2), v.Content(v.dst, volume/2, volume/2)) {
		t.Error("wrong bytes")
	}
}

// TestMarkTakenBack: a destination that was equal is equal again when a copy ends before
// it has overwritten its mark, in whatever way.
func TestMarkTakenBack(t *testing.T) {
	for name, end := range map[string]func(v *volumes, cancel func()){
		"ended under the hold": func(v *volumes, cancel func()) { v.Hooks.Held = func(int) { cancel() } },
		"ended in the hold":    func(v *volumes, cancel func()) { v.Hooks.Hold = func(int) error { cancel(); return unix.EIO } },
		"reserved": func(v *volumes, _ func()) {
			v.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Status: nvme.StatusReservationConflict} })
		},
		"not written": func(v *volumes, _ func()) {
			v.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Status: nvme.StatusUnrecoveredRead} })
			marked := false
			v.Hooks.IO = func(op string, dev remap.Dev, _, _ int64) {
				if op == "write" && !marked {
					marked = true
				} else if op == "write" {
					v.FailWrites(v.ns, dstPlace+1, unix.ENOSPC)
				}
			}
		},
	} {
		v := newVolumes(t)
		equalContents["the same again"](v)
		was := v.Content(v.dst, 0, volume)
		ctx, cancel := context.WithCancel(t.Context())
		end(v, cancel)
		want := v.expect()
		rep, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{})
		if err == nil || rep.Offloaded > 0 {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
		if v.Calls("write") < 2 || !bytes.Equal(was, v.Content(v.dst, 0, volume)) {
			t.Errorf("%s: %d writes, the destination is not what it was", name, v.Calls("write"))
		}
		untouched(t, want)
		cancel()
	}
}

// TestMarkUndone: a mark that is gone when the layout is held proves nothing.
func TestMarkUndone(t *testing.T) {
	v := newVolumes(t)
	half := v.Content(v.src, 0, volume/2)
	v.Fill(v.dst, 0, half)
	v.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Silent: true} })
	v.Hooks.Held = func(int) { v.Fill(v.dst, 0, half) }
	if rep := v.mustCopy(t, dispatch.Options{}); reason(rep, plan.ReasonUnproven) != rep.Total || rep.Commands > 0 {
		t.Errorf("%+v", rep)
	}
}

// TestMarkBehindFence: where a command may still be writing, nothing is taken back.
func TestMarkBehindFence(t *testing.T) {
	v := newVolumes(t)
	equalContents["the same again"](v)
	execute := ghost(v, 0)
	_, err := v.copy(t, dispatch.Options{})
	if !errors.Is(err, failure.ErrFenced) || v.Calls("write") != 1 {
		t.Errorf("%v, %d writes", err, v.Calls("write"))
	}
	execute()
}

// TestMarkInCrash: a copy onto what is equal, killed at any step, goes on and ends well:
// a mark is not said to be done.
func TestMarkInCrash(t *testing.T) {
	for name, install := range map[string]func(*resumable, func()){
		"hold":    func(c *resumable, f func()) { c.Hooks.Hold = func(int) error { f(); return nil } },
		"command": func(c *resumable, f func()) { c.Hooks.Command = func(int, *nvme.Command) { f() } },
		"io": func(c *resumable, f func()) {
			c.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
				if op != "read" {
					f()
				}
			}
		},
	} {
		for _, power := range []bool{false, true} {
			for n := int64(0); ; n++ {
				c := newResumable(t, newVolumes(t), byterange.Range{Len: 3 * window})
				equalContents["the same again"](c.volumes)
				want := c.Expect(c.src, c.dst, c.ranges...)
				var calls atomic.Int64
				install(c, func() {
					if calls.Add(1) == n+1 {
						c.kill(power)
					}
				})
				_, err := c.run(context.Background(), t)
				if !c.dead.Load() {
					if err != nil || n == 0 {
						t.Errorf("%s: %v after %d calls", name, err, n)
					}
					break
				}
				c.Hooks, c.called = fakestack.Hooks{}, func() {}
				c.dead.Store(false)
				c.Start()
				c.needed(t)
				if rep, err := c.run(context.Background(), t); err != nil {
					t.Fatalf("%s, call %d: %v, %+v", name, n, err, rep)
				}
				copied(t, want)
			}
		}
	}
}

// TestNoMark: where no mark can be written, the host copies, and tries no more after a
// while.
func TestNoMark(t *testing.T) {
	v := newVolumes(t)
	equalContents["the same again"](v)
	marks := 0
	v.Hooks.IO = func(op string, dev remap.Dev, _, n int64) {
		if op == "write" && n == sector {
			marks++
		}
	}
	for s := range volume {
		v.FailReads(v.ns, dstPlace+s, unix.EIO)
	}
	rep, err := v.copy(t, dispatch.Options{Window: 64 * kib})
	if err != nil || reason(rep, plan.ReasonUnproven) != rep.Total || marks > 0 || rep.ReadBack > mostReadBack || rep.Commands > 0 {
		t.Errorf("%v, %d marks, %+v", err, marks, rep)
	}
}

// TestMarksOfAllKinds: every method proves itself onto what is equal already.
func TestMarksOfAllKinds(t *testing.T) {
	for name, kind := range kinds {
		m, src, dst := kind(t)
		m.Fill(dst, 0, m.Content(src, 0, volume))
		rep := mustCopy(t, m, src, dst, dispatch.Options{Window: 128 * kib})
		if rep.Offloaded != rep.Total || rep.ReadBack > mostReadBack {
			t.Errorf("%s: %+v", name, rep)
		}
	}
	r := newFileRig(sharing, 4*mib, 4*mib)
	copy(r.dst.data, r.src.data)
	rep := r.mustCopy(t, dispatch.Options{Window: 128 * kib})
	if rep.Offloaded != rep.Total || rep.ReadBack > mostReadBack || rep.ByMethod[account.Method(copydomain.FileReflink)] != rep.Total {
		t.Errorf("files: %+v", rep)
	}
}

// TestProofRandom: whatever is equal where, and whichever commands copy nothing, what was
// trusted is what was copied as long as a device is honest or never is.
func TestProofRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := makeVolumes(fakestack.Namespace{Limits: fakestack.Roomy, Block: rapid.SampledFrom([]int{512, 4096}).Draw(t, "block")})
		defer v.end(t)
		const part = 64
		for s := remap.Sector(0); s < volume; s += part * remap.Sector(rapid.IntRange(1, 20).Draw(t, "stride")) {
			n := min(part*remap.Sector(rapid.IntRange(1, 20).Draw(t, "run")), volume-s)
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				v.zero(s, n)
			case 1:
				v.Fill(v.dst, s, v.Content(v.src, s, n))
			}
		}
		lies := rapid.Bool().Draw(t, "lies")
		v.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Silent: lies} })
		first := 8 * rapid.Int64Range(0, int64(volume)/8-1).Draw(t, "first")
		n := 8 * rapid.Int64Range(1, int64(volume)/8-first/8).Draw(t, "sectors")
		g := byterange.Range{Src: first * sector, Dst: first * sector, Len: n * sector}
		size := rapid.SampledFrom([]int64{64 * kib, 192 * kib, mib}).Draw(t, "window")
		rep := mustCopy(t, v.Machine, v.src, v.dst, dispatch.Options{Window: size}, g)
		if lies != (rep.Host == rep.Total) || rep.ReadBack > mostReadBack {
			t.Fatalf("lies %v: %+v", lies, rep)
		}
	})
}
