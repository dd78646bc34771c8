package dispatch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// frozen is a snapshot that is copied while its origin is written, all on one
// namespace.
type frozen struct {
	*fakestack.Machine
	loop             *nvme.Loopback
	snap             *fakestack.Snapshot
	origin, src, dst remap.Dev
	seed             uint64 // of what is written
}

// original is the size of an origin, cowWindow a window of which it takes
// eight.
const (
	original  = remap.Sector(512 * kib / sector)
	cowWindow = 64 * kib
)

// newFrozen makes a snapshot of so many sectors, with room for so many chunks.
func newFrozen(t testing.TB, original, chunk, room remap.Sector) *frozen {
	t.Helper()
	m := fakestack.New(1)
	ns := m.AddNamespace(fakestack.Namespace{Sectors: 8 * original, Limits: fakestack.Roomy})
	linear := func(start, n remap.Sector) remap.Dev {
		return m.AddMapped(fakestack.Segment{Len: n, Target: fakestack.Linear{Dev: ns, Start: start}})
	}
	base := linear(original, original)
	f := &frozen{Machine: m, loop: m.Loopback(ns), dst: linear(3*original, original)}
	f.snap = &fakestack.Snapshot{
		Origin: fakestack.Place{Dev: base}, Cow: fakestack.Place{Dev: linear(5*original, 2*original)}, Chunk: chunk, Room: room,
	}
	f.src = m.AddMapped(fakestack.Segment{Len: original, Target: f.snap})
	f.origin = m.AddMapped(fakestack.Segment{Len: original, Target: fakestack.Origin{Place: f.snap.Origin, Snapshots: []*fakestack.Snapshot{f.snap}}})
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// overwrite writes something new to sectors of the origin.
func (f *frozen) overwrite(start, n remap.Sector) {
	f.seed++
	data := make([]byte, n.Bytes())
	for i := range n {
		f.Stamp(data[i.Bytes():][:sector], 0xE0+f.seed, int64(start+i))
	}
	f.Scribble(f.origin, start, data)
}

func (f *frozen) mustCopy(t testing.TB, opts dispatch.Options, ranges ...byterange.Range) *account.Report {
	t.Helper()
	return mustCopy(t, f.Machine, f.src, f.dst, opts, ranges...)
}

// TestFrozen: a snapshot of which nothing is written is copied by the device, the
// chunks that were written before it, too.
func TestFrozen(t *testing.T) {
	f := newFrozen(t, original, 16, original)
	f.overwrite(100, 3)
	f.overwrite(500, 40)
	if f.Exceptions(f.snap) != 4 {
		t.Fatalf("%d exceptions", f.Exceptions(f.snap))
	}
	rep := f.mustCopy(t, dispatch.Options{Window: cowWindow, Verify: account.VerifyFull})
	if rep.Offloaded != rep.Total || rep.Redone != 0 || rep.Windows != 8 {
		t.Errorf("%+v", rep)
	}
}

// TestCopiedOnWrite: whenever the origin is written, the copy is what the snapshot was.
// A write falls into a window that was copied, into the one that is being copied,
// across its end, and into one that is yet to come.
func TestCopiedOnWrite(t *testing.T) {
	const chunk = 16
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			f := newFrozen(t, original, chunk, original)
			now := remap.Sector(256) // where the third window begins
			if strings.HasSuffix(moment, "a command") {
				now = 384 // each window takes one command: the fourth
			}
			when(&f.Hooks, moment, func() {
				f.overwrite(10, 1)
				f.overwrite(900, 100)
				f.overwrite(now+44, 10)  // two chunks, [32,64) of the window
				f.overwrite(now+79, 1)   // one, next to them
				f.overwrite(now+120, 16) // two, one of them behind the window
			})
			rep := f.mustCopy(t, dispatch.Options{Window: cowWindow})
			if f.Exceptions(f.snap) == 0 {
				t.Fatal("nothing was copied on write")
			}
			want := int64(32+16+16) * sector
			if moment == "after the plan" {
				want = 16 * sector // found with the first window; the rest is planned again
			}
			if rep.Redone != want || reason(rep, plan.ReasonCopiedOnWrite) != want || rep.Offloaded != rep.Total-want || rep.LayoutChanges != 0 {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestCopiedOnWriteWhileHostCopies: what the host copies of a snapshot needs no second
// look, and a writer at any of its reads and writes changes nothing.
func TestCopiedOnWriteWhileHostCopies(t *testing.T) {
	for number := range 6 {
		t.Run(fmt.Sprint("transfer ", number), func(t *testing.T) {
			f := newFrozen(t, original, 16, original)
			f.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
				if n < 2 || c.Opcode != nvme.OpCopy {
					return nvme.Fault{}
				}
				return nvme.Fault{Status: nvme.StatusUnrecoveredRead}
			})
			transfers := 0
			f.Hooks.IO = func(op string, dev remap.Dev, off, n int64) {
				if dev != f.src && dev != f.dst || op == "flush" {
					return
				}
				if transfers++; transfers == number+1 {
					f.overwrite(0, original)
				}
			}
			rep := f.mustCopy(t, dispatch.Options{Window: cowWindow, InFlight: 1})
			if transfers <= number || rep.Host == 0 || rep.Offloaded == 0 || reason(rep, plan.ReasonCopiedOnWrite) != 0 {
				t.Errorf("%d transfers, %+v", transfers, rep)
			}
		})
	}
}

// TestCopiedOnWriteWhileProving: that a sample differs because the origin was written
// says nothing about the pair.
func TestCopiedOnWriteWhileProving(t *testing.T) {
	f := newFrozen(t, original, 16, original)
	f.Hooks.Landed = func(n int, _ *nvme.Command) {
		if n == 0 {
			f.overwrite(0, 16)
		}
	}
	rep := f.mustCopy(t, dispatch.Options{Window: cowWindow})
	if rep.Redone != cowWindow || rep.Offloaded != rep.Total-cowWindow {
		t.Errorf("%+v", rep)
	}
}

// TestLiesWhileCopiedOnWrite: a device that lies is found out all the same, even if
// the origin is written before every proof.
func TestLiesWhileCopiedOnWrite(t *testing.T) {
	f := newFrozen(t, original, 16, original)
	f.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault { return nvme.Fault{Silent: true} })
	f.Hooks.Landed = func(n int, _ *nvme.Command) { f.overwrite(remap.Sector(n)*128, 16) }
	rep := f.mustCopy(t, dispatch.Options{Window: cowWindow})
	if rep.Offloaded != 0 || rep.Host != rep.Total {
		t.Errorf("%+v", rep)
	}
}

// TestAllCopiedOnWrite: a copy of which every byte was copied on write counts none as
// offloaded.
func TestAllCopiedOnWrite(t *testing.T) {
	f := newFrozen(t, original, 16, original)
	f.Hooks.AfterChanges = func(int) { f.overwrite(0, original) }
	const n = 64 * kib
	rep := f.mustCopy(t, dispatch.Options{}, byterange.Range{Len: n})
	if rep.Offloaded != 0 || rep.Redone != n || rep.Host != n || len(rep.ByMethod) != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestCopiedOnWriteUnderPolicy: a source that is copied on write cannot be copied behind the back of
// a policy.
func TestCopiedOnWriteUnderPolicy(t *testing.T) {
	f := newFrozen(t, original, 16, original)
	when(&f.Hooks, "after a command", func() { f.overwrite(400, 1) })
	want := f.Expect(f.src, f.dst)
	_, err := copyOf(t, f.Machine, f.src, f.dst, dispatch.Options{Window: cowWindow, Offload: plan.OffloadRequire})
	if !errors.Is(err, failure.ErrPolicy) || f.Calls("write") > 0 {
		t.Errorf("%v", err)
	}
	untouched(t, want)
}

// TestSnapshotOverflows: a snapshot that has no room left for what is written to
// its origin fails the copy, whenever that is: nobody has its content any more.
// That is so even if the layout does not show it.
func TestSnapshotOverflows(t *testing.T) {
	for _, loud := range []bool{false, true} {
		for _, moment := range moments {
			t.Run(fmt.Sprintf("%s loud %v", moment, loud), func(t *testing.T) {
				f := newFrozen(t, original, 16, 3)
				f.snap.Loud = loud
				when(&f.Hooks, moment, func() { f.overwrite(256, 128) })
				want := f.Expect(f.src, f.dst)
				rep, err := copyOf(t, f.Machine, f.src, f.dst, dispatch.Options{Window: cowWindow})
				if !f.Invalid(f.snap) || !errors.Is(err, unix.EIO) {
					t.Errorf("%v, %+v", err, rep)
				}
				untouched(t, want)
			})
		}
	}
	t.Run("after the last byte", func(t *testing.T) {
		f := newFrozen(t, original, 16, 3)
		f.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
			if op == "flush" {
				f.overwrite(256, 128)
			}
		}
		if rep := f.mustCopy(t, dispatch.Options{Window: cowWindow}); rep.Offloaded != rep.Total || !f.Invalid(f.snap) {
			t.Errorf("%+v", rep)
		}
	})
}

// writers hit the origin at random moments.
type writers struct {
	*frozen
	t     *rapid.T
	plans map[string]map[int]burst // by hook and number of the call
	calls map[string]int
}

// burst is what is written at a moment.
type burst struct{ start, n remap.Sector }

func (w *writers) draw(what string, low, high int) int {
	return rapid.IntRange(low, high).Draw(w.t, what)
}

// schedule draws what is written when, before anything runs.
func (w *writers) schedule(size remap.Sector) {
	w.plans, w.calls = make(map[string]map[int]burst), make(map[string]int)
	hooks := []string{"stack", "before changes", "after changes", "hold", "held", "release", "command", "landed", "io"}
	for range w.draw("bursts", 1, 8) {
		hook := rapid.SampledFrom(hooks).Draw(w.t, "hook")
		if w.plans[hook] == nil {
			w.plans[hook] = make(map[int]burst)
		}
		start := remap.Sector(w.draw("start", 0, int(size)-1))
		w.plans[hook][w.draw("call", 0, 6)] = burst{start, min(remap.Sector(w.draw("length", 1, 64)), size-start)}
	}
	h := &w.Hooks
	h.Stack = func(n int) { w.hit("stack", n) }
	h.BeforeChanges = func(n int) error { w.hit("before changes", n); return nil }
	h.AfterChanges = func(n int) { w.hit("after changes", n) }
	h.Hold = func(n int) error { w.hit("hold", n); return nil }
	h.Held = func(n int) { w.hit("held", n) }
	h.Release = func(n int) { w.hit("release", n) }
	h.Command = func(n int, _ *nvme.Command) { w.hit("command", n) }
	h.Landed = func(n int, _ *nvme.Command) { w.hit("landed", n) }
	h.IO = func(_ string, dev remap.Dev, _, _ int64) {
		if dev == w.src || dev == w.dst {
			w.calls["io"]++
			w.hit("io", w.calls["io"]-1)
		}
	}
}

func (w *writers) hit(hook string, n int) {
	if b, planned := w.plans[hook][n]; planned {
		w.overwrite(b.start, b.n)
	}
}

// TestCopiedOnWriteEqualsFrozen: whatever chunks, ciphers and windows, whenever writers
// hit the origin and commands fail, the destination is what the snapshot was, or
// the copy has failed because the snapshot has.
func TestCopiedOnWriteEqualsFrozen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &writers{t: rt}
		chunk := rapid.SampledFrom([]remap.Sector{1, 2, 4, 8, 16, 64}).Draw(rt, "chunk")
		const size = original / 2
		room := size
		if w.draw("tight", 0, 3) == 3 {
			room = remap.Sector(w.draw("room", 0, 20))
		}
		w.frozen = newFrozen(t, size, chunk, room)
		w.snap.Loud = rapid.Bool().Draw(rt, "loud")
		if rapid.Bool().Draw(rt, "enciphered") {
			cipher := key(1, rapid.SampledFrom([]remap.Sector{1, cipherBlock}).Draw(rt, "cipher block"))
			over := func(dev remap.Dev) remap.Dev {
				return w.AddMapped(fakestack.Segment{Len: size, Target: fakestack.Crypt{Place: fakestack.Place{Dev: dev}, Key: cipher}})
			}
			w.src, w.dst = over(w.src), over(w.dst)
		}
		if w.draw("before", 0, 1) == 1 && room == size {
			w.overwrite(remap.Sector(w.draw("start", 0, 400)), 100)
		}
		every := w.draw("fault every", 0, 4)
		w.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
			if every < 2 || n%every != every-1 || c.Opcode != nvme.OpCopy {
				return nvme.Fault{}
			}
			return nvme.Fault{Status: nvme.StatusUnrecoveredRead, Junk: n%2 == 1}
		})
		w.schedule(size)
		want := w.Expect(w.src, w.dst)
		// One at a time, so that the same draws make the same copy.
		rep, err := copyOf(rt, w.Machine, w.src, w.dst, dispatch.Options{Window: int64(w.draw("window", 1, 4)) * 64 * kib, InFlight: 1})
		switch {
		case err == nil:
			copied(rt, want)
		case !w.Invalid(w.snap) || !errors.Is(err, unix.EIO):
			rt.Fatalf("%v, %+v", err, rep)
		default:
			untouched(rt, want)
		}
		if moved := reason(rep, plan.ReasonCopiedOnWrite); moved > 0 && w.Exceptions(w.snap) == 0 || rep.Redone < moved {
			rt.Fatalf("%+v", rep)
		}
	})
}

// TestCopiedOnWriteWithinBlocks: of a block that is enciphered as one, and of which
// chunks were copied on write, the host copies all, once.
func TestCopiedOnWriteWithinBlocks(t *testing.T) {
	f := newFrozen(t, original, 2, original)
	base := f.origin
	over := func(dev remap.Dev) remap.Dev {
		return f.AddMapped(fakestack.Segment{Len: original, Target: fakestack.Crypt{Place: fakestack.Place{Dev: dev}, Key: key(1, cipherBlock)}})
	}
	f.src, f.dst, f.origin = over(f.src), over(f.dst), over(base)
	when(&f.Hooks, "after the comparison", func() {
		// What is below a cipher can change by the sector: here it is three
		// chunks of one block, and one each of two neighbours.
		for _, chunk := range []remap.Sector{264, 266, 270, 284, 288} {
			f.Scribble(base, chunk, make([]byte, sector))
		}
	})
	rep := f.mustCopy(t, dispatch.Options{Window: cowWindow})
	if want := 3 * cipherBlock.Bytes(); f.Exceptions(f.snap) != 5 || rep.Redone != want || reason(rep, plan.ReasonCopiedOnWrite) != want || rep.Offloaded != rep.Total-want {
		t.Errorf("%+v", rep)
	}
}
