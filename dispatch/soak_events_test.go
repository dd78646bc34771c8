package dispatch_test

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// event is what happens at a call of a hook.
type event struct {
	hook   string
	number int
	name   string
	do     func()
	// after is what the caller of the hook waits for; it may be nil.
	after func()
	over  bool
}

var soakHooks = []string{"stack", "before changes", "after changes", "hold", "held", "release", "command", "landed", "io", "drop", "journal"}

// soakEvent is a kind of event.
type soakEvent struct {
	name   string
	choose func(*soak, *event)
	// not are the events that it does not come together with.
	not []string
}

// broken is what no copy can keep if the layout changes, too: the hold has not lasted as
// long as it has promised, or that of a command which still writes is gone.
var broken = []string{"expire", "ghost", "timeout"}

// never come all together: nobody extends the hold of a command that takes longer than
// what is left of it, and the layout changes below it (docs/safety.md).
var never = [][]string{{"stop", "late", "move"}, {"stop", "late", "leave"}, {"stop", "late", "shrink"}}

// unheld is after what a copy cannot tell that nothing has moved.
var unheld = append([]string{"stop"}, broken...)

var soakEvents = []soakEvent{
	// What cannot be read cannot be moved either, and what shrinks moves by itself.
	{"move", (*soak).chooseMove, append([]string{"unreadable", "shrink"}, broken...)},
	{"leave", (*soak).chooseLeave, append([]string{"unreadable", "shrink"}, broken...)},
	{"suspend", (*soak).chooseSuspend, nil},
	{"stage", (*soak).chooseStage, nil},
	{"grow", (*soak).chooseGrow, []string{"shrink"}},
	{"shrink", (*soak).chooseShrink, append([]string{"shrink"}, broken...)},
	{"partition", (*soak).choosePartition, nil},
	{"path", (*soak).choosePath, nil},
	{"neighbour", (*soak).chooseNeighbour, nil},
	{"expire", (*soak).chooseExpire, nil},
	{"pause", (*soak).choosePause, nil},
	{"stop", (*soak).chooseStop, nil},
	{"command", (*soak).chooseFault, nil},
	{"late", (*soak).chooseFault, nil},
	{"slow", (*soak).chooseFault, nil},
	{"ghost", (*soak).chooseFault, nil},
	{"timeout", (*soak).chooseFault, nil},
	{"limits", (*soak).chooseLimits, nil},
	{"reset", (*soak).chooseReset, nil},
	{"unreadable", (*soak).chooseUnreadable, nil},
	{"unwritable", (*soak).chooseUnwritable, nil},
	{"flush", (*soak).chooseFlush, nil},
	{"full", (*soak).chooseFull, nil},
	{"cancel", func(s *soak, e *event) { e.do = func() { s.excused = e.name; s.cancel() } }, nil},
	{"kill", func(s *soak, e *event) { e.do = s.kill }, nil},
	{"power", func(s *soak, e *event) { s.choosePower(e, 0) }, nil},
	{"torn", func(s *soak, e *event) { s.choosePower(e, s.draw("outage", 1, 1<<20)) }, nil},
}

// choose draws what happens, of what goes together with what happens already.
func (s *soak) choose(e *event) {
	able := slices.DeleteFunc(slices.Clone(soakEvents), func(one soakEvent) bool {
		return slices.ContainsFunc(s.events, func(e *event) bool {
			return slices.Contains(one.not, e.name) || slices.Contains(kindOf(e.name).not, one.name)
		}) || s.completes(one.name)
	})
	kind := able[s.draw("event", 0, len(able)-1)]
	e.name = kind.name
	kind.choose(s, e)
}

// completes: with what happens already, the event is all of what never comes together.
func (s *soak) completes(name string) bool {
	return slices.ContainsFunc(never, func(all []string) bool {
		return slices.Contains(all, name) && !slices.ContainsFunc(all, func(other string) bool {
			return other != name && !slices.ContainsFunc(s.events, func(e *event) bool { return e.name == other })
		})
	})
}

func kindOf(name string) soakEvent {
	return soakEvents[slices.IndexFunc(soakEvents, func(one soakEvent) bool { return one.name == name })]
}

// span draws how long something takes.
func (s *soak) span(most time.Duration) time.Duration {
	all := []time.Duration{time.Millisecond, 200 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 10 * time.Second, 25 * time.Second, 40 * time.Second}
	return rapid.SampledFrom(slices.DeleteFunc(all, func(d time.Duration) bool { return d > most })).Draw(s.t, "time")
}

// aVolume draws a volume.
func (s *soak) aVolume() disk { return rapid.SampledFrom(s.made).Draw(s.t, "volume") }

// chooseMove moves one of the volumes to another place, or reloads its table only.
func (s *soak) chooseMove(e *event) {
	v := s.aVolume()
	table := s.segments(v.size, 0, true)
	event := rapid.Bool().Draw(s.t, "event")
	e.do = func() {
		s.excuse(e, "stop")
		s.wait(s.m.Begin(v.dev, func() { s.m.Move(v.dev, table...) }))
		if event {
			s.m.Wake(v.dev)
		}
	}
}

// chooseLeave moves what only the destination lies on, without what it holds.
func (s *soak) chooseLeave(e *event) {
	ofSource, ofDestination := s.below(s.src), s.below(s.dst)
	able := slices.DeleteFunc(slices.Clone(s.made), func(v disk) bool { return ofSource[v.dev] || !ofDestination[v.dev] })
	if len(able) == 0 {
		s.chooseNeighbour(e)
		return
	}
	v := rapid.SampledFrom(able).Draw(s.t, "volume")
	table := s.segments(v.size, 0, true)
	event := rapid.Bool().Draw(s.t, "event")
	e.do = func() {
		s.left = true
		s.excuse(e, "stop")
		s.wait(s.m.Begin(v.dev, func() { s.m.Leave(v.dev, table...); s.unseen.Store(true) }))
		if event {
			s.m.Wake(v.dev)
		}
	}
}

// wait is for what has to end before the next run.
func (s *soak) wait(over <-chan struct{}) { s.waits = append(s.waits, over) }

// later does something after some time, or sooner if the process is gone by then.
func (s *soak) later(after time.Duration, do func()) {
	over := make(chan struct{})
	time.AfterFunc(after, func() { do(); close(over) })
	s.wait(over)
}

// patience: what takes longer than the copy waits for may end it.
func (s *soak) patience(why string, long time.Duration) {
	if s.suspended += long; s.suspended > 25*time.Second {
		s.excused = why
	}
}

func (s *soak) chooseSuspend(e *event) {
	v, long := s.aVolume(), s.span(time.Minute)
	e.do = func() {
		s.patience(e.name, long)
		s.wait(s.m.SuspendFor(v.dev, long))
	}
}

// chooseStage loads a table and takes it away again.
func (s *soak) chooseStage(e *event) {
	v, long := s.aVolume(), s.span(time.Minute)
	e.do = func() {
		s.patience(e.name, long)
		s.m.Stage(v.dev, true)
		s.later(long, func() { s.m.Stage(v.dev, false) })
	}
}

func (s *soak) chooseGrow(e *event) {
	v := s.aVolume()
	table := s.segments(remap.Sector(s.draw("more", 1, 8))*s.unit, 0, true)
	e.do = func() {
		s.resized = true
		s.excuse(e, unheld...)
		s.wait(s.m.Begin(v.dev, func() { s.m.Grow(v.dev, table...) }))
	}
}

// chooseShrink takes the end of a volume away for a while. Nobody else gets what the
// source needs later.
func (s *soak) chooseShrink(e *event) {
	v := s.aVolume()
	lend := s.below(s.dst)[v.dev]
	e.do = func() {
		s.resized, s.lent, s.excused = true, s.lent || lend, e.name
		var cut *fakestack.Shrunk
		s.wait(s.m.Begin(v.dev, func() { cut = s.m.Shrink(v.dev, lend) }))
		s.ends = append(s.ends, func() { cut.Back() })
	}
}

// below are the devices that one rests on, and itself.
func (s *soak) below(dev remap.Dev) map[remap.Dev]bool {
	st, err := s.m.Stack(s.t.Context(), dev)
	if err != nil {
		s.t.Fatal(err)
	}
	devs := make(map[remap.Dev]bool)
	for _, n := range st.Nodes() {
		devs[n.Dev] = true
	}
	return devs
}

// choosePartition makes a partition longer, or reads the table of partitions again.
func (s *soak) choosePartition(e *event) {
	if len(s.parts) == 0 {
		s.parts = append(s.parts, s.m.AddPartition(s.disks[0].dev, 0, s.unit))
	}
	dev := rapid.SampledFrom(s.parts).Draw(s.t, "partition")
	by := remap.Sector(s.draw("more", 0, 4)) * s.unit
	e.do = func() {
		s.excuse(e, unheld...)
		s.m.Resize(dev, by)
	}
}

// choosePath makes a volume reach a logical unit by another path, if there is one: those to
// a namespace look like one.
func (s *soak) choosePath(e *event) {
	if len(s.luns) == 0 {
		s.chooseNeighbour(e)
		return
	}
	from := rapid.SampledFrom(s.luns).Draw(s.t, "unit")
	to, known := s.paths[from]
	if !known {
		to = s.m.AddPath(from)
		s.paths[from] = to
	}
	v := s.aVolume()
	e.do = func() {
		s.excuse(e, unheld...)
		s.m.Reroute(v.dev, from, to)
	}
}

// chooseNeighbour lets a volume that is none of ours come, grow and be written to, right
// beside them.
func (s *soak) chooseNeighbour(e *event) {
	e.name = "neighbour"
	n := remap.Sector(s.draw("neighbour", 1, 4)) * s.unit
	dev := s.m.AddMapped(fakestack.Segment{Len: n, Target: fakestack.Linear(s.room(n))})
	more := fakestack.Segment{Len: n, Target: fakestack.Linear(s.room(n))}
	data := make([]byte, 2*n.Bytes())
	for i := range data {
		data[i] = 0x4E
	}
	e.do = func() {
		s.m.Scribble(dev, 0, data[:n.Bytes()])
		s.m.Grow(dev, more)
		s.m.Scribble(dev, 0, data)
	}
}

// changing is what changes a layout, if only such that everything stays where it lies. A
// copy that is not held meanwhile cannot tell, and ends.
var changing = []string{"grow", "partition", "path"}

// moving is what changes where a volume lies.
var moving = []string{"move", "leave", "shrink"}

// excuse is for events that may end a run if they come together with certain others.
func (s *soak) excuse(e *event, others ...string) {
	if slices.ContainsFunc(s.events, func(e *event) bool { return slices.Contains(others, e.name) }) {
		s.excused = e.name
	}
}

func (s *soak) chooseExpire(e *event) { e.do = func() { s.expire(e) } }

func (s *soak) expire(e *event) {
	s.excuse(e, changing...)
	s.m.Expire()
}

// choosePause makes the caller of the hook slow, as on a machine under load.
func (s *soak) choosePause(e *event) {
	s.stall(e, s.span(3*time.Second), func() {})
}

// stall does something and then keeps the caller of the hook, who may be what the kernel
// goes on with when the process is gone.
func (s *soak) stall(e *event, long time.Duration, do func()) {
	var over chan struct{} // of the bubble
	e.do = func() { over = make(chan struct{}); s.wait(over); do() }
	e.after = func() { time.Sleep(long); close(over) }
}

// chooseStop stops the whole process for a while (SIGSTOP, a freezer), so that nobody
// extends holds, which end in their time. Clocks jump.
func (s *soak) chooseStop(e *event) {
	long := s.span(time.Minute)
	e.do = func() {
		s.excuse(e, changing...)
		s.excuse(e, moving...)
		s.patience(e.name, long)
		s.m.Halt(long)
	}
	e.after = s.m.Await
}

// chooseLimits makes a namespace take less, or more, than before, and say so or not.
func (s *soak) chooseLimits(e *event) {
	dev := rapid.SampledFrom(s.namespaces).Draw(s.t, "namespace")
	limits := func() nvme.Limits {
		return nvme.Limits{
			RangeBlocks: uint32(s.draw("mssrl", 0, 64)), CommandBlocks: uint32(s.draw("mcl", 0, 300)), Ranges: uint16(s.draw("ranges", 1, 8)),
		}
	}
	enforced := limits()
	reported := enforced
	if rapid.Bool().Draw(s.t, "silently") {
		reported = limits()
	}
	e.do = func() { s.m.SetLimits(dev, reported, enforced) }
}

// chooseReset makes a controller forget what it was told.
func (s *soak) chooseReset(e *event) {
	loop := s.m.Loopback(rapid.SampledFrom(s.namespaces).Draw(s.t, "namespace"))
	e.do = func() { loop.SetBehavior(nvme.HostBehavior{}) }
}

// aSector draws a sector of a disk.
func (s *soak) aSector() (remap.Dev, remap.Sector) {
	d := rapid.SampledFrom(s.disks).Draw(s.t, "bad disk")
	return d.dev, remap.Sector(s.draw("bad sector", 0, int(d.size)-1))
}

func (s *soak) chooseUnreadable(e *event) {
	dev, at := s.aSector()
	e.do = func() {
		s.excused = e.name
		s.m.FailReads(dev, at, unix.EIO)
		s.ends = append(s.ends, func() { s.m.FailReads(dev, at, nil) })
	}
}

func (s *soak) chooseUnwritable(e *event) {
	dev, at := s.aSector()
	e.do = func() {
		s.excused = e.name
		s.m.FailWrites(dev, at, unix.EIO)
		s.ends = append(s.ends, func() { s.m.FailWrites(dev, at, nil) })
	}
}

// chooseFlush makes a flush fail, which loses some of what was written.
func (s *soak) chooseFlush(e *event) {
	dev, _ := s.aSector()
	outage := fakestack.Outage{Seed: uint64(s.draw("outage", 0, 1<<20))}
	e.do = func() {
		s.excused = e.name
		s.m.FailFlush(dev, outage)
		s.ends = append(s.ends, func() { s.m.Flushes(dev) })
	}
}

// fullness is that of the disk of the state file.
type fullness struct {
	soak  *soak
	times int
	late  bool // the state was written before the error came
}

func (f *fullness) write(what func() error) error {
	if f.times == 0 {
		return what()
	}
	f.times--
	f.soak.excused = "full"
	if f.late {
		if err := what(); err != nil {
			return err
		}
	}
	return fmt.Errorf("state: %w", unix.ENOSPC)
}

// maxFull is how many writes in a row fail, each of which can end a run.
const maxFull = 3

// chooseFull makes the disk of the state file full, for some of its writes.
func (s *soak) chooseFull(e *event) {
	full := fullness{s, s.draw("times", 1, maxFull), rapid.Bool().Draw(s.t, "late")}
	e.do = func() { s.full = full }
}

// kill ends the process without its knowing.
func (s *soak) kill() {
	s.excused = "kill"
	s.dead.Store(true)
	s.m.Stop()
}

// choosePower kills, and cuts the power.
func (s *soak) choosePower(e *event, seed int) {
	outage := fakestack.Outage{Seed: uint64(seed)}
	e.do = func() {
		s.kill()
		s.m.PowerCut(outage)
	}
}
