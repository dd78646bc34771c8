package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// Every copy of these tests that succeeds survives a crash: see mustCopy. Here
// is what has to be flushed so that it does.

// TestFlushFails: a cache that could not be flushed is a failure.
func TestFlushFails(t *testing.T) {
	v := newVolumes(t)
	v.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault {
		if c.Opcode == nvme.OpFlush {
			return nvme.Fault{Status: nvme.StatusWriteFault}
		}
		return nvme.Fault{}
	})
	if rep, err := v.copy(t, dispatch.Options{}); !errors.Is(err, nvme.StatusWriteFault) {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestFlushAfterMove: what was offloaded to a place that the volume has left
// meanwhile is durable in its new place.
func TestFlushAfterMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mover{volumes: newVolumes(t)}
		other := m.AddNamespace(fakestack.Namespace{Sectors: volume, Limits: fakestack.Roomy})
		when(&m.Hooks, "before the release", m.begin(m.dst, []fakestack.Segment{{Len: volume, Target: fakestack.Linear{Dev: other}}}))
		m.mustCopy(t, dispatch.Options{Window: window})
		<-m.over
	})
}

// TestDirtySource: what a program has written to the source, and the kernel has
// not yet, is part of the source, at whatever level it was written.
func TestDirtySource(t *testing.T) {
	news := bytes.Repeat([]byte("news"), 2*sector/4)
	for _, level := range []string{"volume", "disk"} {
		t.Run(level, func(t *testing.T) {
			v := newVolumes(t)
			if level == "volume" {
				v.WriteBuffered(v.src, 1000, news)
			} else {
				v.WriteBuffered(v.ns, srcPlace+1000, news)
			}
			if rep, err := v.copy(t, dispatch.Options{}); err != nil || rep.Offloaded != rep.Total {
				t.Fatalf("%v, %+v", err, rep)
			}
			if !bytes.Equal(v.Content(v.dst, 1000, 2), news) {
				t.Error("the copy has missed what was in the page cache")
			}
		})
	}
}

// TestDirtyDestination: what a program wrote to the destination before the copy
// is not written back over it afterwards, at whatever level.
func TestDirtyDestination(t *testing.T) {
	old := bytes.Repeat([]byte("old!"), 2*sector/4)
	for _, level := range []string{"volume", "disk"} {
		t.Run(level, func(t *testing.T) {
			v := newVolumes(t)
			if level == "volume" {
				v.WriteBuffered(v.dst, 1000, old)
			} else {
				v.WriteBuffered(v.ns, dstPlace+1000, old)
			}
			want := v.expect()
			if _, err := v.copy(t, dispatch.Options{}); err != nil {
				t.Fatal(err)
			}
			v.WriteBack()
			copied(t, want)
		})
	}
}

// TestStaleCache: a program that reads the destination afterwards sees the copy,
// at whatever level it reads, and whatever it has read before or meanwhile.
func TestStaleCache(t *testing.T) {
	v := newVolumes(t)
	read := func() { v.ReadBuffered(v.dst, 0, volume); v.ReadBuffered(v.ns, dstPlace, volume) }
	read()
	v.Hooks.Held = func(int) { read() }
	if _, err := v.copy(t, dispatch.Options{Window: window}); err != nil {
		t.Fatal(err)
	}
	want := v.Content(v.src, 0, volume)
	if !bytes.Equal(v.ReadBuffered(v.dst, 0, volume), want) || !bytes.Equal(v.ReadBuffered(v.ns, dstPlace, volume), want) {
		t.Error("the page cache still holds what was there before the copy")
	}
}

// TestStaleMappings: so does a program that has mapped the destination, at every level,
// however the copy ends; and what it then writes there is no more than that.
func TestStaleMappings(t *testing.T) {
	enough := errors.New("enough")
	for _, c := range []struct {
		name string
		opts dispatch.Options
		fail bool // in the midst of it
	}{
		{"offloaded", dispatch.Options{}, false},
		{"through the host", dispatch.Options{Offload: plan.OffloadNever}, false},
		{"verified", dispatch.Options{Verify: account.VerifyFull}, false},
		{"with a state", dispatch.Options{Journaling: dispatch.Journaling{Journal: unwritten{}}}, false},
		{"interrupted", dispatch.Options{}, true},
		{"interrupted through the host", dispatch.Options{Offload: plan.OffloadNever}, true},
		{"interrupted with a state", dispatch.Options{Journaling: dispatch.Journaling{Journal: unwritten{}}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, level := range []string{"volume", "disk"} {
				v := newVolumes(t)
				dev, at := v.dst, remap.Sector(0)
				if level == "disk" {
					dev, at = v.ns, dstPlace
				}
				read := func() []byte { return v.ReadMapped(dev, at, volume) }
				read()
				v.Hooks.Held = func(int) { read() }
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				if c.fail {
					c.opts.Progress = func(p account.Progress) {
						if p.Done > 0 {
							cancel(enough)
						}
					}
				}
				c.opts.Window = window
				_, err := copyWith(ctx, t, v.Machine, v.src, v.dst, c.opts)
				if c.fail != errors.Is(err, failure.ErrInterrupted) || !c.fail && err != nil {
					t.Fatal(err)
				}
				now := v.Content(v.dst, 0, volume)
				if c.fail && !bytes.Equal(now[:sector], v.Content(v.src, 0, 1)) {
					t.Error("it was interrupted before anything was copied")
				}
				if !bytes.Equal(read(), now) {
					t.Errorf("%s: stale pages are still mapped", level)
				}
				v.WriteMapped(dev, at.Bytes()+3, 'x')
				v.WriteBack()
				now[3] = 'x'
				if !bytes.Equal(v.Content(v.dst, 0, volume), now) {
					t.Errorf("%s: a byte that was written took others back", level)
				}
			}
		})
	}
}

// unwritten is a journal of a copy that is begun, and keeps nothing.
type unwritten struct{}

func (unwritten) Job() []byte                   { return []byte("job") }
func (unwritten) Extents() []journal.Extent     { return nil }
func (unwritten) Begun([]journal.Sample) error  { return nil }
func (unwritten) Record([]journal.Extent) error { return nil }
func (unwritten) Complete() error               { return nil }
func (unwritten) Forget() error                 { return nil }

// TestDirtyParent: what was written to a disk as a whole and is not on it yet is part of a copy
// of its partition to a file.
func TestDirtyParent(t *testing.T) {
	v := newVolumes(t)
	part := v.AddPartition(v.ns, srcPlace, volume)
	data := bytes.Repeat([]byte("dirty"), int(volume.Bytes())/5+1)[:volume.Bytes()]
	v.WriteBuffered(v.ns, srcPlace, data)
	file := &memoryFile{id: "file:0:9:2", data: make([]byte, volume.Bytes())}
	rep, err := dispatch.New(v.Machine).Copy(t.Context(), dispatch.Job{Src: v.Endpoint(part), Dst: file.endpoint()}, dispatch.Options{})
	checkReport(t, rep, err)
	if err != nil || !bytes.Equal(file.data, data) {
		t.Errorf("%v: what was written to the disk is missing in the copy of its partition", err)
	}
}

// TestDirtyPartition: what was written to a partition of the source and is not on the disk yet,
// because somebody has the partition open, is part of the source.
func TestDirtyPartition(t *testing.T) {
	v := newVolumes(t)
	part := v.AddPartition(v.ns, srcPlace, volume)
	data := bytes.Repeat([]byte("dirty"), int(volume.Bytes())/5+1)[:volume.Bytes()]
	v.WriteBuffered(part, 0, data)
	file := &memoryFile{id: "file:0:9:2", data: make([]byte, volume.Bytes())}
	job := dispatch.Job{Src: v.Endpoint(v.ns), Dst: file.endpoint(), Ranges: []byterange.Range{{Src: srcPlace.Bytes(), Len: volume.Bytes()}}}
	rep, err := dispatch.New(v.Machine).Copy(t.Context(), job, dispatch.Options{})
	checkReport(t, rep, err)
	if err != nil || !bytes.Equal(file.data, data) {
		t.Errorf("%v: what was written to a partition of the source is missing in the copy", err)
	}
}

// TestStalePartitions: a disk is the destination, and somebody reads a partition of it.
func TestStalePartitions(t *testing.T) {
	v := newVolumes(t)
	part := v.AddPartition(v.ns, dstPlace, volume)
	v.ReadMapped(part, 0, volume)
	if _, err := copyOf(t, v.Machine, v.ns, v.ns, dispatch.Options{}, byterange.Range{Src: srcPlace.Bytes(), Dst: dstPlace.Bytes(), Len: volume.Bytes()}); err != nil {
		t.Fatal(err) // mustCopy would take the power away, and with it what is cached
	}
	if !bytes.Equal(v.ReadMapped(part, 0, volume), v.Content(part, 0, volume)) {
		t.Error("the partition shows what was there before the copy")
	}
}

// TestVerify finds what went wrong behind the back of the copy.
func TestVerify(t *testing.T) {
	v := newVolumes(t)
	v.Hooks.Release = func(int) { v.Fill(v.dst, 1234, make([]byte, sector)) }
	rep, err := v.copy(t, dispatch.Options{Verify: account.VerifyFull})
	if !errors.Is(err, failure.ErrMismatch) || rep.Verified != account.VerifyFull {
		t.Errorf("%v, %+v", err, rep)
	}
	found, err := dispatch.New(v).Verify(context.Background(), dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}, dispatch.Options{})
	if err != nil || len(found.Mismatches) != 1 || found.Mismatches[0].Dst/sector != 1234 {
		t.Errorf("%v, %+v", err, found)
	}
}

// TestInterrupt: a copy that is ended at any point says so, and nothing but a
// prefix of itself is done.
func TestInterrupt(t *testing.T) {
	hooks := map[string]func(*fakestack.Hooks, func(string)){
		"stack": func(h *fakestack.Hooks, f func(string)) { h.Stack = func(int) { f("stack") } },
		"compare": func(h *fakestack.Hooks, f func(string)) {
			h.BeforeChanges = func(int) error { f("compare"); return nil }
		},
		"hold":    func(h *fakestack.Hooks, f func(string)) { h.Hold = func(int) error { f("hold"); return nil } },
		"held":    func(h *fakestack.Hooks, f func(string)) { h.Held = func(int) { f("held") } },
		"release": func(h *fakestack.Hooks, f func(string)) { h.Release = func(int) { f("release") } },
		"command": func(h *fakestack.Hooks, f func(string)) { h.Command = func(int, *nvme.Command) { f("command") } },
		"landed":  func(h *fakestack.Hooks, f func(string)) { h.Landed = func(int, *nvme.Command) { f("landed") } },
		"io":      func(h *fakestack.Hooks, f func(string)) { h.IO = func(string, remap.Dev, int64, int64) { f("io") } },
		"drop":    func(h *fakestack.Hooks, f func(string)) { h.Drop = func(int, remap.Dev) { f("drop") } },
	}
	const seed = 42
	random := rand.New(rand.NewPCG(seed, 0))
	for name, install := range hooks {
		for range 4 {
			number := random.IntN(10)
			t.Run(name, func(t *testing.T) {
				v := newVolumes(t)
				v.Swap(v.dst, fakestack.Segment{Len: volume / 2, Target: fakestack.Linear{Dev: v.ns, Start: dstPlace}},
					fakestack.Segment{Len: volume / 2, Target: fakestack.Scramble{Place: fakestack.Place{Dev: v.ns, Start: dstPlace + volume/2}, Len: volume / 2}})
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				calls := make(chan struct{}, number)
				install(&v.Hooks, func(string) {
					select {
					case calls <- struct{}{}:
					default:
						cancel()
					}
				})
				want := v.expect()
				rep, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{Window: window, InFlight: 1, Verify: account.VerifyFull})
				switch {
				case ctx.Err() == nil && err == nil:
					copied(t, want)
				case err == nil: // it came too late
					copied(t, want)
				case !errors.Is(err, failure.ErrInterrupted):
					t.Errorf("call %d (seed %d): %v, %+v", number, seed, err, rep)
				}
				untouched(t, want)
			})
		}
	}
}

// TestInterruptedAfterMove: that the destination has moved below commands is told
// even if the copy is ended at the same moment.
func TestInterruptedAfterMove(t *testing.T) {
	v := newVolumes(t)
	v.UnsafeSwaps = true
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	when(&v.Hooks, "before a command", func() {
		v.Move(v.dst, v.linear(spare)...)
		cancel()
	})
	_, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{Window: window})
	if err == nil || !strings.Contains(err.Error(), "destination changed") {
		t.Error(err)
	}
}

// TestInterruptKeepsTheHold: a command that is in flight when the copy is ended
// comes back when it likes, and until then the layout stays held.
func TestInterruptKeepsTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		stuck := make(chan struct{})
		v.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault {
			if c.Opcode != nvme.OpCopy {
				return nvme.Fault{}
			}
			return nvme.Fault{Hold: stuck}
		})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{Window: window})
			ended <- err
		}()
		synctest.Wait()
		cancel()
		before := v.Calls("extend")
		time.Sleep(10 * time.Second) // of the bubble's clock
		if extended := v.Calls("extend") - before; extended < 9 {
			t.Errorf("the hold was extended %d times in ten seconds", extended)
		}
		close(stuck)
		if err := <-ended; !errors.Is(err, failure.ErrInterrupted) {
			t.Error(err)
		}
	})
}

// TestInterruptWhileWaiting: waiting for a layout ends at once, too.
func TestInterruptWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		v.Suspend(v.dst)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		began := time.Now()
		_, err := copyWith(ctx, t, v.Machine, v.src, v.dst, dispatch.Options{})
		if !errors.Is(err, failure.ErrInterrupted) || time.Since(began) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// nosy is a machine whose copiers try to write where they must not.
type nosy struct {
	*fakestack.Machine
	seen chan error
}

type nosyCopier struct {
	copydomain.Copier
	allowed func(dst, n remap.Sector) error
	seen    chan error
}

func (n *nosy) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	c, err := n.Machine.Copier(ctx, pair, opt)
	return &nosyCopier{c, opt.Allowed, n.seen}, err
}

func (c *nosyCopier) Copy(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	for _, m := range moves {
		for _, bad := range []struct{ dst, n remap.Sector }{
			{m.Dst - 1, m.Len}, {m.Dst - 1, 1}, {m.Src, m.Len}, {m.Dst + volume, 1}, {dstPlace - 1, 2}, {dstPlace, volume + 1}, {dstPlace + volume - 1, 2}, {0, 1},
		} {
			if bad.dst >= dstPlace && bad.dst+bad.n <= dstPlace+volume {
				continue
			}
			if c.allowed(bad.dst, bad.n) == nil {
				c.seen <- errors.New("a command outside of the plan was allowed")
			}
		}
		if err := c.allowed(m.Dst, m.Len); err != nil {
			c.seen <- err
		}
	}
	result, err := c.Copier.Copy(ctx, moves)
	return result, err
}

// TestGuard: the last look before a command lets nothing pass that is not in
// the plan of the window, and nothing at all between windows.
func TestGuard(t *testing.T) {
	v := newVolumes(t)
	n := &nosy{v.Machine, make(chan error, 1000)}
	var last func(dst, n remap.Sector) error
	v.Hooks.Release = func(int) {
		if last != nil && last(dstPlace, 1) == nil {
			n.seen <- errors.New("a command after the window was allowed")
		}
	}
	keep := &keeper{n, &last}
	job := dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}
	want := v.expect()
	rep, err := dispatch.New(keep).Copy(context.Background(), job, dispatch.Options{Window: window})
	checkReport(t, rep, err)
	if err != nil || last == nil {
		t.Fatal(err)
	}
	copied(t, want)
	close(n.seen)
	for err := range n.seen {
		t.Error(err)
	}
}

// keeper keeps the guard of the copier.
type keeper struct {
	*nosy
	last *func(dst, n remap.Sector) error
}

func (k *keeper) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	*k.last = opt.Allowed
	return k.nosy.Copier(ctx, pair, opt)
}

// TestOddWindows: whatever the window, the copy ends, and is right.
func TestOddWindows(t *testing.T) {
	for _, size := range []int64{1, 511, 512, 1000, 4095, 4096, 100_000, 1 << 40} {
		v := newVolumesOn(t, fakestack.Namespace{Block: 4096, Limits: fakestack.Roomy})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := v.copy(t, dispatch.Options{Window: size}, byterange.Range{Len: 64 * kib}); err != nil {
				t.Errorf("window of %d: %v", size, err)
			}
		}()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Errorf("window of %d: the copy does not end", size)
		}
	}
}
