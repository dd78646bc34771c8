package dispatch_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// counted is a machine whose holders are counted: each of them starts processes.
type counted struct {
	*fakestack.Machine
	holders, closed int
}

func (c *counted) Holder(mode hold.Mode, dst *remap.Node) machine.Holder {
	c.holders++
	return &countedHolder{c.Machine.Holder(mode, dst), c}
}

type countedHolder struct {
	machine.Holder
	machine *counted
}

func (h *countedHolder) Close() error {
	h.machine.closed++
	return h.Holder.Close()
}

// TestWarmEngine: a second copy between volumes that have stayed open identifies no disk,
// starts no process and proves nothing again; after a while, it proves again.
func TestWarmEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		m := &counted{Machine: v.Machine}
		e := dispatch.New(m)
		src, dst := e.Open(v.Endpoint(v.src)), e.Open(v.Endpoint(v.dst))
		copied := func() *account.Report {
			v.Fill(v.dst, 0, bytes.Repeat([]byte{0x5A}, int(volume.Bytes())))
			rep, err := e.Copy(t.Context(), dispatch.Between(src, dst), dispatch.Options{})
			checkReport(t, rep, err)
			if err != nil || rep.Offloaded != rep.Total {
				t.Fatalf("%+v, %v", rep, err)
			}
			return rep
		}
		if first := copied(); first.ReadBack == 0 || m.holders != 1 || m.closed != 0 {
			t.Errorf("%+v, %d holders, %d closed", first, m.holders, m.closed)
		}
		asked := v.Calls("admin")
		if asked == 0 {
			t.Error("nothing was identified")
		}
		if second := copied(); second.ReadBack != 0 || m.holders != 1 || v.Calls("admin") != asked {
			t.Errorf("%+v, %d holders, %d questions", second, m.holders, v.Calls("admin")-asked)
		}
		time.Sleep(11 * time.Minute)
		if third := copied(); third.ReadBack == 0 {
			t.Errorf("%+v", third)
		}
		if err := dst.Close(); err != nil || m.closed != 1 {
			t.Errorf("%v, %d closed", err, m.closed)
		}
	})
}

// TestColdVolumes: what holds the destination of a copy that nobody keeps open ends with it.
func TestColdVolumes(t *testing.T) {
	v := newVolumes(t)
	m := &counted{Machine: v.Machine}
	e := dispatch.New(m)
	for n := range 2 {
		rep, err := e.Copy(t.Context(), dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}, dispatch.Options{})
		if err != nil || rep.ByMethod[account.NVMeCopy] == 0 || m.holders != n+1 || m.closed != n+1 {
			t.Errorf("%+v, %v, %d holders, %d closed", rep, err, m.holders, m.closed)
		}
	}
}

// TestWarmEngineOtherFiles: what one pair of files has shown says nothing of others, whose numbers
// in the plan are the same.
func TestWarmEngineOtherFiles(t *testing.T) {
	const size = 2 * mib
	honest, lying := newFileRig(sharing, size, size), newFileRig(sharing, size, size)
	lying.src.id, lying.dst.id = "file:0:9:3", "file:0:9:4"
	lying.loop.Answer = func(int, files.Move) files.Answer { return files.Answer{Copied: -1} }
	honest.Finder = copydomain.NewFinderFor(copydomain.Openers{
		FileSystem: func(files.Name) (files.FileSystem, error) { return sharing, nil },
		Files: func(src, _ files.Name) (files.Transport, error) {
			if src.ID == lying.src.id {
				return lying.loop, nil
			}
			return honest.loop, nil
		},
	})
	e := dispatch.New(honest.Machine)
	for _, c := range []struct {
		*fileRig
		offloaded int64
	}{{honest, size}, {lying, 0}, {honest, size}} {
		rep, err := e.Copy(t.Context(), dispatch.Job{Src: c.src.endpoint(), Dst: c.dst.endpoint()}, dispatch.Options{})
		checkReport(t, rep, err)
		if err != nil || !bytes.Equal(c.src.data, c.dst.data) {
			t.Fatalf("%s: %v, equal: %v", c.src.id, err, bytes.Equal(c.src.data, c.dst.data))
		}
		if rep.Offloaded != c.offloaded || reason(rep, plan.ReasonProofFailed) != size-c.offloaded {
			t.Errorf("%s: %+v", c.src.id, rep)
		}
	}
}

// TestWarmEngineRejected: a pair that has once not been able to copy gets another chance later, and has to
// prove itself then.
func TestWarmEngineRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		e := dispatch.New(v.Machine)
		copied := func() *account.Report {
			v.Fill(v.dst, 0, bytes.Repeat([]byte{0x5A}, int(volume.Bytes())))
			rep, err := e.Copy(t.Context(), dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}, dispatch.Options{})
			checkReport(t, rep, err)
			if err != nil {
				t.Fatal(err)
			}
			return rep
		}
		if rep := copied(); rep.Offloaded == 0 {
			t.Errorf("%+v", rep)
		}
		copies := func(f nvme.Fault) func(int, *nvme.Command) nvme.Fault {
			return func(_ int, c *nvme.Command) nvme.Fault {
				if c.Opcode != nvme.OpCopy {
					return nvme.Fault{}
				}
				return f
			}
		}
		v.loop.SetFault(copies(nvme.Fault{Status: nvme.StatusInvalidOpcode}))
		if rep := copied(); rep.Offloaded != 0 || rep.Commands == 0 {
			t.Errorf("unable: %+v", rep)
		}
		v.loop.SetFault(nil)
		if rep := copied(); rep.Offloaded != 0 || rep.Commands != 0 {
			t.Errorf("at once: %+v", rep)
		}
		time.Sleep(11 * time.Minute)
		if rep := copied(); rep.Offloaded != rep.Total || rep.ReadBack == 0 {
			t.Errorf("later: %+v", rep)
		}
		// Whoever has lied is not asked again.
		time.Sleep(11 * time.Minute)
		v.loop.SetFault(copies(nvme.Fault{Silent: true}))
		if rep := copied(); reason(rep, plan.ReasonProofFailed) != rep.Total {
			t.Errorf("lying: %+v", rep)
		}
		v.loop.SetFault(nil)
		time.Sleep(24 * time.Hour)
		if rep := copied(); reason(rep, plan.ReasonProofFailed) != rep.Total || rep.Commands != 0 {
			t.Errorf("after a lie: %+v", rep)
		}
	})
}

// warm is a machine with an engine that has proven its pair.
type warm struct {
	*volumes
	engine *dispatch.Engine
}

func newWarm(t *testing.T) *warm {
	w := &warm{volumes: newVolumes(t)}
	w.engine = dispatch.New(w.Machine)
	if rep := w.copied(t); rep.Offloaded != rep.Total || rep.ReadBack == 0 {
		t.Fatalf("%+v", rep)
	}
	return w
}

// copied copies, with the engine that there is, to a destination that holds something else.
func (w *warm) copied(t *testing.T) *account.Report {
	t.Helper()
	w.Fill(w.dst, 0, bytes.Repeat([]byte{0x5A}, int(volume.Bytes())))
	rep, err := w.engine.Copy(t.Context(), dispatch.Job{Src: w.Endpoint(w.src), Dst: w.Endpoint(w.dst)}, dispatch.Options{Window: 512 * kib})
	checkReport(t, rep, err)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.Content(w.src, 0, volume), w.Content(w.dst, 0, volume)) {
		t.Fatalf("wrong bytes: %+v", rep)
	}
	return rep
}

// news are the ways in which a machine can tell, or not tell, that something has happened to the disk.
var newsOfDisk = map[string]struct {
	tell func(w *warm)
	ends bool
}{
	"nothing":             {func(*warm) {}, false},
	"another disk":        {func(w *warm) { w.Happen("block", remap.Dev{Major: 8, Minor: 99}) }, false},
	"another kind":        {func(w *warm) { w.Happen("scsi", remap.Dev{}) }, false},
	"the disk":            {func(w *warm) { w.Happen("block", w.ns) }, true},
	"twice":               {func(w *warm) { w.Happen("block", w.ns); w.Happen("block", w.ns) }, true},
	"a reset":             {func(w *warm) { w.Happen("nvme", remap.Dev{}) }, true},
	"lost":                {func(w *warm) { w.Happen("nvme", remap.Dev{}); w.LoseEvents() }, true},
	"no events any more":  {func(w *warm) { w.Deafen(true) }, true},
	"events again":        {func(w *warm) { w.Deafen(true); w.Deafen(false); w.LoseEvents() }, true},
	"nothing, but a name": {func(w *warm) { w.SetSoftware(w.ns, "2.0") }, true},
}

// TestWarmEngineEvents: after whatever may concern a disk it is identified, and proven, again.
func TestWarmEngineEvents(t *testing.T) {
	for name, news := range newsOfDisk {
		w := newWarm(t)
		asked := w.Calls("admin")
		news.tell(w)
		rep := w.copied(t)
		if (rep.ReadBack > 0) != news.ends || (w.Calls("admin") > asked) != news.ends || rep.Offloaded != rep.Total {
			t.Errorf("%s: identified again %v, %+v", name, w.Calls("admin") > asked, rep)
		}
		// And that is all.
		asked = w.Calls("admin")
		deaf := name == "no events any more"
		if rep := w.copied(t); (rep.ReadBack > 0) != deaf || (w.Calls("admin") > asked) != deaf {
			t.Errorf("%s, one copy later: identified again %v, %+v", name, w.Calls("admin") > asked, rep)
		}
	}
}

// TestWarmEngineFindsOut: a disk that copies nothing any more is found out by the first copy after something was
// heard of it.
func TestWarmEngineFindsOut(t *testing.T) {
	for name, news := range newsOfDisk {
		if !news.ends {
			continue
		}
		w := newWarm(t)
		w.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault { return nvme.Fault{Silent: c.Opcode == nvme.OpCopy} })
		news.tell(w)
		if rep := w.copied(t); rep.Offloaded != 0 || reason(rep, plan.ReasonProofFailed) != rep.Total {
			t.Errorf("%s: %+v", name, rep)
		}
	}
}

// TestEventsWhileCopying: what happens to the disk in the midst of a copy has it proven again with the next
// window; a disk that copies nothing from then on is found out before anything else counts.
func TestEventsWhileCopying(t *testing.T) {
	for name, news := range newsOfDisk {
		if name == "no events any more" || name == "events again" {
			continue // that is no news
		}
		for _, lies := range []bool{false, true} {
			w := newWarm(t)
			windows := 0
			w.Hooks.Release = func(int) {
				if windows++; windows == 2 {
					news.tell(w)
					w.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault {
						return nvme.Fault{Silent: lies && news.ends && c.Opcode == nvme.OpCopy}
					})
				}
			}
			rep := w.copied(t)
			if (rep.ReadBack > 0) != news.ends || windows < 3 || (reason(rep, plan.ReasonProofFailed) > 0) != (lies && news.ends) {
				t.Errorf("%s, lies %v: %d windows, %+v", name, lies, windows, rep)
			}
		}
	}
}

// TestWarmEngineLate: an event that comes when the next copy is long under way ends what that copy has
// found out for the copy after it.
func TestWarmEngineLate(t *testing.T) {
	w := newWarm(t)
	w.Hooks.Release = func(n int) {
		w.Hooks.Release = nil
		w.Happen("nvme", remap.Dev{})
	}
	w.copied(t)
	asked := w.Calls("admin")
	w.copied(t)
	if w.Calls("admin") == asked {
		t.Error("not identified again")
	}
}

// TestWarmEngineReplaced: whether or not that is heard of, what was known of a disk says nothing of another one
// in its place.
func TestWarmEngineReplaced(t *testing.T) {
	for _, heard := range []bool{false, true} {
		w := newWarm(t)
		w.Replace(w.ns)
		if heard {
			w.Happen("block", w.ns)
		}
		w.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault { return nvme.Fault{Silent: c.Opcode == nvme.OpCopy} })
		if rep := w.copied(t); rep.Offloaded != 0 {
			t.Errorf("heard %v: %+v", heard, rep)
		}
	}
}

// TestEngineSharesBudgets: two copies on one subsystem together have no more commands in flight than one of them
// would have alone, and the disk of another subsystem is no concern of theirs.
func TestEngineSharesBudgets(t *testing.T) {
	const size, inFlight = 4096, 3
	for _, c := range []struct {
		name   string
		beside bool
		copies int
		most   int
	}{{"one copy", true, 1, inFlight}, {"two copies", true, 2, inFlight}, {"two disks", false, 2, 2 * inFlight}} {
		synctest.Test(t, func(t *testing.T) {
			m := fakestack.New(1)
			small := nvme.Limits{RangeBlocks: 64, CommandBlocks: 64, Ranges: 1}
			disks := []remap.Dev{m.AddNamespace(fakestack.Namespace{Sectors: 2 * size, Limits: small})}
			next := fakestack.Namespace{Sectors: 2 * size, Limits: small}
			if c.beside {
				next.Beside = disks[0]
			}
			disks = append(disks, m.AddNamespace(next))
			e := dispatch.New(m)
			copied := func(disk remap.Dev) {
				rep, err := e.Copy(t.Context(), dispatch.Job{Src: m.Endpoint(disk), Dst: m.Endpoint(disk), Ranges: []byterange.Range{{Dst: size * sector, Len: size * sector}}},
					dispatch.Options{InFlight: inFlight})
				if err != nil || rep.Offloaded != rep.Total {
					t.Errorf("%s: %+v, %v", c.name, rep, err)
				}
			}
			var now, most atomic.Int64
			m.Hooks.Command = func(_ int, cmd *nvme.Command) {
				if cmd.Opcode == nvme.OpCopy {
					n := now.Add(1)
					for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
					}
					time.Sleep(time.Millisecond)
				}
			}
			m.Hooks.Landed = func(_ int, cmd *nvme.Command) {
				if cmd.Opcode == nvme.OpCopy {
					now.Add(-1)
				}
			}
			var wait sync.WaitGroup
			for _, disk := range disks[:c.copies] {
				wait.Go(func() { copied(disk) })
			}
			wait.Wait()
			if most.Load() != int64(c.most) {
				t.Errorf("%s: %d commands at a time, want %d", c.name, most.Load(), c.most)
			}
			// Who has left has left nothing behind.
			most.Store(0)
			if copied(disks[0]); most.Load() != inFlight {
				t.Errorf("%s, and one later: %d commands at a time", c.name, most.Load())
			}
		})
	}
}

// TestWarmEngineLetsFilesGo: files are open while they are copied, so that their file system can be unmounted
// afterwards.
func TestWarmEngineLetsFilesGo(t *testing.T) {
	r := newFileRig(sharing, mib, mib)
	opened, closed := 0, 0
	r.Finder = copydomain.NewFinderFor(copydomain.Openers{
		FileSystem: func(files.Name) (files.FileSystem, error) { return sharing, nil },
		Files: func(files.Name, files.Name) (files.Transport, error) {
			opened++
			return closedFiles{r.loop, &closed}, nil
		},
	})
	e := dispatch.New(r.Machine)
	for n := 1; n <= 2; n++ {
		rep, err := e.Copy(t.Context(), dispatch.Job{Src: r.src.endpoint(), Dst: r.dst.endpoint()}, dispatch.Options{})
		if err != nil || rep.Offloaded != rep.Total || opened != n || closed != n {
			t.Errorf("%+v, %v: opened %d times, closed %d times", rep, err, opened, closed)
		}
	}
	if err := r.Finder.Close(); err != nil || closed != 2 {
		t.Errorf("%v, closed %d times", err, closed)
	}
}

type closedFiles struct {
	files.Transport
	closed *int
}

func (c closedFiles) Close() error { *c.closed++; return c.Transport.Close() }
