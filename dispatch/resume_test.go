package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// errDead: a process that was killed writes no state.
var errDead = errors.New("dead")

// mortal is a journal of a process that can be killed.
type mortal struct {
	*journal.File
	dead *atomic.Bool
	// called comes before and after each call that writes.
	called func()
	// by carries out what writes; it may be nil.
	by func(what func() error) error
}

func (m *mortal) write(what func() error) error {
	m.called()
	if m.dead.Load() {
		return errDead
	}
	if do := what; m.by != nil {
		what = func() error { return m.by(do) }
	}
	err := what()
	m.called()
	return err
}

func (m *mortal) Begun(s []journal.Sample) error {
	return m.write(func() error { return m.File.Begun(s) })
}

func (m *mortal) Record(e []journal.Extent) error {
	return m.write(func() error { return m.File.Record(e) })
}
func (m *mortal) Complete() error { return m.write(m.File.Complete) }
func (m *mortal) Forget() error   { return m.write(m.File.Forget) }

// resumable is a copy with a state file.
type resumable struct {
	*volumes
	path   string
	ranges []byterange.Range
	opts   dispatch.Options
	dead   atomic.Bool
	called func()
}

func newResumable(t *testing.T, v *volumes, ranges ...byterange.Range) *resumable {
	if len(ranges) == 0 {
		ranges = []byterange.Range{{Len: volume.Bytes()}}
	}
	return &resumable{
		volumes: v, path: filepath.Join(memory(t), "state"), ranges: ranges, called: func() {},
		opts: dispatch.Options{Window: window, InFlight: 1},
	}
}

// memory is a directory in memory, where there is one: files of states are synced
// often.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "dmcopy-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (c *resumable) plan() (journal.Plan, []journal.Range) {
	var ranges []journal.Range
	for _, g := range c.ranges {
		ranges = append(ranges, journal.Range(g))
	}
	end := func(dev remap.Dev) journal.End {
		return journal.End{Name: dev.String(), Identity: dev.String(), Size: c.Open(dev).Size()}
	}
	return journal.Plan{Source: end(c.src), Destination: end(c.dst), Ranges: journal.SumUp(ranges)}, ranges
}

// run begins the copy, or goes on with it.
func (c *resumable) run(ctx context.Context, t *testing.T) (*account.Report, error) {
	t.Helper()
	f, err := journal.Open(c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plan, ranges := c.plan()
	if f.Unfinished() {
		if err := f.Resume(plan, ranges); err != nil {
			t.Fatal(err)
		}
	} else {
		f.Begin(plan, "/", []string{"copy"})
	}
	opts := c.opts
	opts.Journal = &mortal{f, &c.dead, func() { c.called() }, nil}
	return copyWith(ctx, t, c.Machine, c.src, c.dst, opts, c.ranges...)
}

// kill ends the process without its knowing; with the power, if that is lost.
func (c *resumable) kill(power bool) {
	c.dead.Store(true)
	c.Stop()
	if power {
		c.Crash()
	}
}

// needed counts the bytes of the ranges that are not copied yet, and makes sure
// that none of them is said to be.
func (c *resumable) needed(t *testing.T) (bytesLeft int64) {
	t.Helper()
	done := new(journal.Map)
	if s, err := journal.Read(c.path); err == nil {
		done = &s.Map
	}
	for _, g := range c.ranges {
		from := c.Content(c.src, remap.Sector(g.Src/sector), remap.Sector(g.Len/sector))
		to := c.Content(c.dst, remap.Sector(g.Dst/sector), remap.Sector(g.Len/sector))
		for off := int64(0); off < g.Len; off += sector {
			if bytes.Equal(from[off:off+sector], to[off:off+sector]) {
				continue
			}
			bytesLeft += sector
			for _, e := range done.Extents() {
				if e.Status == journal.Done && g.Dst+off >= e.Off && g.Dst+off < e.Off+e.Len {
					t.Fatalf("byte %d is said to be done", g.Dst+off)
				}
			}
		}
	}
	return bytesLeft
}

// hybrid puts half of the destination on a disk that cannot copy.
func hybrid(t *testing.T) *volumes {
	v := newVolumes(t)
	v.Swap(v.dst, fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}},
		fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.AddDisk(volume/2, 512)}})
	return v
}

// TestCrashAnywhere kills a copy, with and without the loss of power, at every
// point at which anything can be seen of it. It goes on, ends well, and copies at
// most one window more than it has to.
func TestCrashAnywhere(t *testing.T) {
	hooks := map[string]func(*resumable, func()){
		"stack":   func(c *resumable, f func()) { c.Hooks.Stack = func(int) { f() } },
		"compare": func(c *resumable, f func()) { c.Hooks.BeforeChanges = func(int) error { f(); return nil } },
		"hold":    func(c *resumable, f func()) { c.Hooks.Hold = func(int) error { f(); return nil } },
		"release": func(c *resumable, f func()) { c.Hooks.Release = func(int) { f() } },
		"command": func(c *resumable, f func()) { c.Hooks.Command = func(int, *nvme.Command) { f() } },
		"landed":  func(c *resumable, f func()) { c.Hooks.Landed = func(int, *nvme.Command) { f() } },
		"io": func(c *resumable, f func()) {
			c.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
				if op != "read" {
					f()
				}
			}
		},
		"drop":    func(c *resumable, f func()) { c.Hooks.Drop = func(int, remap.Dev) { f() } },
		"journal": func(c *resumable, f func()) { c.called = f },
	}
	for name, install := range hooks {
		for _, power := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/power=%v", name, power), func(t *testing.T) {
				step := int64(1)
				if testing.Short() {
					step = 5 // under the race detector, it would take half an hour
				}
				for n := int64(0); ; n += step {
					if !crashAt(t, install, n, power) {
						if n == 0 {
							t.Error("no call")
						}
						return
					}
				}
			})
		}
	}
}

// crashAt crashes a copy at one call of a hook, and goes on with it. There may be
// no such call.
func crashAt(t *testing.T, install func(*resumable, func()), number int64, power bool) bool {
	c := newResumable(t, hybrid(t), byterange.Range{Src: mib, Dst: 512 * kib, Len: mib}, byterange.Range{Src: 64 * kib, Dst: 0, Len: 256 * kib})
	want := c.Expect(c.src, c.dst, c.ranges...)
	var calls atomic.Int64
	install(c, func() {
		if calls.Add(1) == number+1 {
			c.kill(power)
		}
	})
	rep, err := c.run(context.Background(), t)
	if !c.dead.Load() {
		if err != nil {
			t.Fatalf("%v, %+v", err, rep)
		}
		return false
	}
	c.Hooks, c.called = fakestack.Hooks{}, func() {}
	c.dead.Store(false)
	c.Start()
	needed := c.needed(t)
	rep, err = c.run(context.Background(), t)
	if err != nil {
		t.Fatalf("call %d: %v, %+v", number, err, rep)
	}
	if again := rep.Total - rep.Skipped; again > needed+window {
		// A copy that is complete begins anew.
		if s, err := journal.Read(c.path); needed > 0 || err != nil || s.Stage != journal.Complete {
			t.Errorf("call %d: %d bytes were to be copied, and %d were", number, needed, again)
		}
	}
	copied(t, want)
	c.Crash()
	copied(t, want)
	return true
}

// TestCrashAgain: a copy that is killed after every window ends nevertheless.
func TestCrashAgain(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	want := c.Expect(c.src, c.dst)
	const windows = int(2 * mib / window)
	for range windows - 1 {
		var calls atomic.Int64
		c.called = func() {
			if calls.Add(1) == 4 { // the beginning and the first record have two each
				c.kill(true)
			}
		}
		if _, err := c.run(context.Background(), t); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		c.dead.Store(false)
		c.Start()
	}
	c.called = func() {}
	rep, err := c.run(context.Background(), t)
	if err != nil || rep.Offloaded != window || rep.Skipped != 2*mib-window || reason(rep, account.ReasonResumed) != rep.Skipped {
		t.Errorf("%v, %+v", err, rep)
	}
	copied(t, want)
	s, err := journal.Read(c.path)
	if err != nil || s.Stage != journal.Complete {
		t.Fatal(err)
	}
	if want := []journal.Extent{{Len: 2 * mib, Status: journal.Done, Method: "nvme-copy"}}; !slices.Equal(s.Map.Extents(), want) {
		t.Errorf("%+v", s.Map.Extents())
	}
}

// TestInterruptSaves: a copy that is ended loses no more than the window that it
// was in, however rarely it saves.
func TestInterruptSaves(t *testing.T) {
	for _, hook := range []string{"release", "io"} {
		c := newResumable(t, hybrid(t))
		c.opts.JournalEvery = time.Hour
		want := c.Expect(c.src, c.dst)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		calls := 0
		end := func() {
			if calls++; calls == 3 {
				cancel()
			}
		}
		if hook == "release" {
			c.Hooks.Release = func(int) { end() }
		} else {
			c.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
				if op == "write" {
					end()
				}
			}
		}
		if rep, err := c.run(ctx, t); !errors.Is(err, failure.ErrInterrupted) {
			t.Fatalf("%v, %+v", err, rep)
		}
		c.Hooks = fakestack.Hooks{}
		c.Crash()
		needed := c.needed(t)
		rep, err := c.run(context.Background(), t)
		if err != nil || rep.Total-rep.Skipped > needed+window || rep.Skipped == 0 {
			t.Errorf("%s: %d bytes were to be copied: %v, %+v", hook, needed, err, rep)
		}
		copied(t, want)
	}
}

// TestInterruptedFlush: what is being flushed when a copy is ended is not forgotten.
func TestInterruptedFlush(t *testing.T) {
	for _, every := range []time.Duration{0, time.Hour} {
		c := newResumable(t, hybrid(t))
		c.opts.JournalEvery = every
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		written := int64(0)
		c.Hooks.IO = func(op string, _ remap.Dev, _, _ int64) {
			if op == "flush" {
				cancel()
			}
		}
		c.Hooks.Release = func(int) {
			if written += window; every > 0 && written == 2*window {
				cancel()
			}
		}
		if rep, err := c.run(ctx, t); !errors.Is(err, failure.ErrInterrupted) {
			t.Fatalf("%v, %+v", err, rep)
		}
		c.Crash()
		c.needed(t) // what is done is there
		s, err := journal.Read(c.path)
		if err != nil || s.Map.Bytes(journal.Done) < written-window || s.Map.Bytes(journal.Done) == 0 {
			t.Errorf("%v: %v, of %d bytes %d are done", every, err, written, s.Map.Bytes(journal.Done))
		}
	}
}

// TestFlushFailedOnce: what was written before a flush that failed is copied
// again, even if the next flush succeeds.
func TestFlushFailedOnce(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	var flushes atomic.Int64
	c.loop.SetFault(func(_ int, cmd *nvme.Command) nvme.Fault {
		if cmd.Opcode == nvme.OpFlush && flushes.Add(1) == 3 {
			return nvme.Fault{Status: nvme.StatusWriteFault}
		}
		return nvme.Fault{}
	})
	if rep, err := c.run(context.Background(), t); !errors.Is(err, nvme.StatusWriteFault) {
		t.Fatalf("%v, %+v", err, rep)
	}
	s, err := journal.Read(c.path)
	if err != nil || s.Map.Bytes(journal.Done) != 2*window {
		t.Errorf("%v, %d bytes are done", err, s.Map.Bytes(journal.Done))
	}
}

// interrupted copies a part, and ends.
func (c *resumable) interrupted(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.Hooks.Release = func(n int) {
		if n == 4 {
			cancel()
		}
	}
	if _, err := c.run(ctx, t); !errors.Is(err, failure.ErrInterrupted) {
		t.Fatal(err)
	}
	c.Hooks = fakestack.Hooks{}
}

// TestSourceChanged: a copy is not gone on with if the source is not what it was,
// unless it is known to change.
func TestSourceChanged(t *testing.T) {
	for _, at := range []remap.Sector{0, volume - 1} {
		c := newResumable(t, newVolumes(t))
		c.interrupted(t)
		c.Fill(c.src, at, make([]byte, sector))
		if rep, err := c.run(context.Background(), t); !errors.Is(err, journal.ErrDiffers) || rep != nil {
			t.Errorf("%v, %+v", err, rep)
		}
		c.opts.LiveSource = true
		if rep, err := c.run(context.Background(), t); err != nil || rep.Skipped == 0 {
			t.Errorf("%v, %+v", err, rep)
		}
	}
}

// TestDestinationChanged: nor is it if the destination has lost what was copied.
func TestDestinationChanged(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	c.interrupted(t)
	c.Fill(c.dst, 3, make([]byte, sector))
	if rep, err := c.run(context.Background(), t); !errors.Is(err, failure.ErrRefused) || rep != nil {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestDestinationLostAPiece: wherever it has lost something, whatever became of the pieces
// beside it, as long as what was done is not much.
func TestDestinationLostAPiece(t *testing.T) {
	for _, piece := range []int{0, 1, 2, 3} {
		c := newResumable(t, newVolumes(t), byterange.Range{Len: 2 * window}, byterange.Range{Src: 3 * window, Dst: 3 * window, Len: mib})
		c.interrupted(t)
		s, err := journal.Read(c.path)
		if err != nil {
			t.Fatal(err)
		}
		extents := s.Map.Extents()
		if len(extents) < 2 {
			t.Fatalf("%+v", extents)
		}
		lost := extents[piece/2]
		at := remap.Sector(lost.Off / sector)
		if piece%2 == 1 {
			at += remap.Sector(lost.Len/sector) - 1
		}
		c.Fill(c.dst, at, make([]byte, sector))
		if rep, err := c.run(context.Background(), t); !errors.Is(err, failure.ErrRefused) || rep != nil {
			t.Errorf("sector %d: %v, %+v", at, err, rep)
		}
	}
}

// TestSourceUnreadable: a place that could be read once, and cannot any more,
// does not keep a copy from going on.
func TestSourceUnreadable(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	c.interrupted(t)
	want := c.Expect(c.src, c.dst)
	c.FailReads(c.ns, srcPlace, unix.EIO)
	if rep, err := c.run(context.Background(), t); err != nil || rep.Skipped == 0 {
		t.Errorf("%v, %+v", err, rep)
	}
	copied(t, want)
}

// TestMismatchForgets: what was found to be different is copied again.
func TestMismatchForgets(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	c.opts.Verify = account.VerifyFull
	c.Hooks.Release = func(int) { c.Fill(c.dst, 1234, make([]byte, sector)) }
	if _, err := c.run(context.Background(), t); !errors.Is(err, failure.ErrMismatch) {
		t.Fatal(err)
	}
	c.Hooks = fakestack.Hooks{}
	want := c.Expect(c.src, c.dst)
	if rep, err := c.run(context.Background(), t); err != nil || rep.Skipped > 0 {
		t.Errorf("%v, %+v", err, rep)
	}
	copied(t, want)
}

// TestSuspendedAtTheEnd: a destination that is suspended when the copy is ended
// is not waited for.
func TestSuspendedAtTheEnd(t *testing.T) {
	c := newResumable(t, newVolumes(t))
	c.opts.JournalEvery = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.Hooks.Release = func(n int) {
		if n == 2 {
			c.Suspend(c.dst)
			cancel()
		}
	}
	if _, err := c.run(ctx, t); !errors.Is(err, failure.ErrInterrupted) {
		t.Error(err)
	}
	c.Resume(c.dst)
}

// TestManyPieces: a window of very many pieces, in turns on two disks, is
// entered in no time.
func TestManyPieces(t *testing.T) {
	v := newVolumes(t)
	other := v.AddNamespace(fakestack.Namespace{Sectors: volume, Limits: fakestack.Roomy, Beside: v.ns})
	var table []fakestack.Segment
	for s := remap.Sector(0); s < volume; s += 2 {
		table = append(table, fakestack.Segment{Len: 1, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace + s}},
			fakestack.Segment{Len: 1, Target: fakestack.Linear{Dev: other, Start: s}})
	}
	v.Swap(v.dst, table...)
	c := newResumable(t, v)
	c.opts.Window = mib
	want := c.Expect(c.src, c.dst)
	if rep, err := c.run(context.Background(), t); err != nil || rep.Offloaded == 0 || rep.Host == 0 {
		t.Fatalf("%v, %+v", err, rep)
	}
	copied(t, want)
	if s, err := journal.Read(c.path); err != nil || s.Map.Bytes(journal.Done) != volume.Bytes() {
		t.Errorf("%v, %+v", err, s)
	}
}
