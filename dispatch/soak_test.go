package dispatch_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestSoak copies between random stacks while volumes move, anchors end, disks
// fail, commands go wrong, the process is killed and the power fails, each at a
// random moment. Whatever happens, nothing but the destination is written; and
// what was interrupted goes on and ends well. For more of it: -rapid.checks=N.
func TestSoak(t *testing.T) {
	dir := memory(t)
	happened := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		s := newSoak(rt, filepath.Join(dir, fmt.Sprint(happened["trials"])))
		var failed any
		synctest.Test(t, func(*testing.T) {
			defer func() { failed = recover() }()
			s.run()
		})
		if failed != nil {
			panic(failed) // rapid ends its checks so
		}
		happened["trials"]++
		for _, e := range s.events {
			if e.over {
				happened[e.name]++
			}
		}
	})
	t.Logf("%v", happened)
}

// soak is one trial.
type soak struct {
	*builder
	src, dst remap.Dev
	ranges   []dispatch.Range
	opts     dispatch.Options
	path     string // of the state file; empty for a copy without one

	mu     sync.Mutex
	events []*event
	counts map[string]int
	moves  []<-chan struct{}
	ghosts []chan struct{}
	// excused is what has happened to the run that may have ended it.
	excused string
	dead    atomic.Bool
	cancel  context.CancelFunc
}

// event is what happens at a call of a hook.
type event struct {
	hook   string
	number int
	name   string
	do     func()
	over   bool
}

var soakHooks = []string{"stack", "before changes", "after changes", "hold", "held", "release", "command", "landed", "io", "drop", "journal"}

// soakStatuses are of every kind (copydomain/nvme/status.go). Success is for a
// completion that gets lost.
var soakStatuses = []nvme.Status{
	nvme.StatusSuccess, nvme.StatusInvalidOpcode, nvme.StatusDataTransferError, 0x006, 0x008, 0x021, nvme.StatusLBAOutOfRange,
	nvme.StatusReservationConflict, nvme.StatusCommandSizeLimit, 0x186, nvme.StatusInsufficientResources,
	nvme.StatusWriteFault, nvme.StatusUnrecoveredRead, nvme.StatusHostPathError,
}

func newSoak(t *rapid.T, dir string) *soak {
	s := &soak{builder: &builder{t: t}, counts: make(map[string]int)}
	s.machine()
	size := remap.Sector(s.draw("size", 8, 100)) * s.unit
	s.src, s.dst = s.volume(size, 1, false), s.volume(size, 1, true)
	if s.ranges = s.builder.ranges(size); s.ranges == nil {
		s.ranges = []dispatch.Range{{Len: size.Bytes()}}
	}
	s.opts = dispatch.Options{Window: 64 * kib, InFlight: s.draw("in flight", 1, 4), JournalEvery: -1}
	if rapid.Bool().Draw(t, "state") {
		s.path = filepath.Join(dir, "state")
	}
	for range s.draw("events", 1, 4) {
		e := &event{hook: rapid.SampledFrom(soakHooks).Draw(t, "hook"), number: s.draw("call", 0, 8)}
		s.choose(e)
		s.events = append(s.events, e)
	}
	s.installHooks()
	return s
}

// choose draws what happens.
func (s *soak) choose(e *event) {
	has := func(name string) bool {
		return slices.ContainsFunc(s.events, func(e *event) bool { return e.name == name })
	}
	e.name = rapid.SampledFrom([]string{"move", "move", "expire", "kill", "power", "cancel", "unreadable", "command"}).Draw(s.t, "event")
	switch {
	case e.name == "move" && !has("expire") && !has("ghost") && !has("unreadable"):
		s.chooseMove(e)
	case e.name == "expire" && !has("move"):
		e.do = s.m.Expire
	case e.name == "cancel":
		e.do = func() { s.excused = e.name; s.cancel() }
	case e.name == "unreadable" && !has("move"): // which cannot move it either
		s.chooseUnreadable(e)
	case e.name == "command":
		s.chooseFault(e, !has("move"))
	default: // also where two events together break what no copy can keep
		e.do = func() { s.kill(e.name == "power") }
	}
}

// chooseMove moves one of the volumes to another place.
func (s *soak) chooseMove(e *event) {
	v := rapid.SampledFrom(s.made).Draw(s.t, "volume")
	table := s.segments(v.size, 0, true)
	heard := rapid.Bool().Draw(s.t, "heard")
	e.do = func() {
		s.moves = append(s.moves, s.m.Begin(v.dev, func() { s.m.Move(v.dev, table...) }))
		if heard {
			s.m.Wake(v.dev)
		}
	}
}

func (s *soak) chooseUnreadable(e *event) {
	d := rapid.SampledFrom(s.disks).Draw(s.t, "bad disk")
	at := remap.Sector(s.draw("bad sector", 0, int(d.size)-1))
	e.do = func() {
		s.excused = e.name
		s.m.FailReads(d.dev, at, unix.EIO)
		s.events = append(s.events, &event{hook: "end", name: "readable again", do: func() { s.m.FailReads(d.dev, at, nil) }})
	}
}

// chooseFault makes the next command of a namespace go wrong.
func (s *soak) chooseFault(e *event, ghosts bool) {
	var namespaces []remap.Dev
	for _, d := range s.disks[:len(s.disks)-1] {
		namespaces = append(namespaces, d.dev)
	}
	loop := s.m.Loopback(rapid.SampledFrom(namespaces).Draw(s.t, "namespace"))
	fault := nvme.Fault{
		Status: rapid.SampledFrom(soakStatuses).Draw(s.t, "status"),
		At:     s.draw("at", 0, 2), Junk: rapid.Bool().Draw(s.t, "junk"),
	}
	if fault.Status == nvme.StatusSuccess && ghosts {
		fault.Lost = unix.EINTR
		e.name = "ghost"
	}
	e.do = func() {
		var once atomic.Bool
		if fault.Lost != nil {
			hold := make(chan struct{})
			s.ghosts = append(s.ghosts, hold)
			fault.Hold = hold
		}
		loop.SetFault(func(int, *nvme.Command) nvme.Fault {
			if once.Swap(true) {
				return nvme.Fault{}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.excused = e.name // which may be a later run
			return fault
		})
	}
}

// kill ends the process without its knowing; with the power, if that is lost.
func (s *soak) kill(power bool) {
	s.excused = "kill"
	s.dead.Store(true)
	s.m.Stop()
	if power {
		s.m.Crash()
	}
}

func (s *soak) installHooks() {
	at := func(hook string) func(int) { return func(int) { s.at(hook) } }
	s.m.Hooks = fakestack.Hooks{
		Stack:         at("stack"),
		BeforeChanges: func(int) error { s.at("before changes"); return nil },
		AfterChanges:  at("after changes"),
		Hold:          func(int) error { s.at("hold"); return nil },
		Held:          at("held"),
		Release:       at("release"),
		Command:       func(int, *nvme.Command) { s.at("command") },
		Landed:        func(int, *nvme.Command) { s.at("landed") },
		IO: func(op string, _ remap.Dev, _, _ int64) {
			if op != "read" {
				s.at("io")
			}
		},
		Drop: func(int, remap.Dev) { s.at("drop") },
	}
}

// at is a call of a hook.
func (s *soak) at(hook string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts[hook]
	s.counts[hook]++
	for _, e := range slices.Clone(s.events) {
		if e.hook == hook && !e.over && n >= e.number {
			e.over = true
			e.do()
		}
	}
}

// run copies until all is copied.
func (s *soak) run() {
	if s.path != "" {
		if err := os.Mkdir(filepath.Dir(s.path), 0o700); err != nil {
			s.t.Fatal(err)
		}
		defer os.RemoveAll(filepath.Dir(s.path))
	}
	want := s.m.Expect(s.src, s.dst, s.ranges...)
	for last := len(s.events) + 1; ; last-- {
		err := s.once()
		if err == nil {
			break
		}
		if why := s.excused; why == "" || last == 0 {
			s.t.Fatalf("%v, after %q", err, why)
		}
		if err := want.Untouched(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.m.Hooks = fakestack.Hooks{}
	if err := want.Copied(); err != nil {
		s.t.Fatal(err)
	}
	s.m.Crash()
	if err := want.Copied(); err != nil {
		s.t.Fatalf("after a crash: %v", err)
	}
}

// once is the life of one process.
func (s *soak) once() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.cancel, s.excused = cancel, ""
	opts := s.opts
	if s.path != "" {
		f, err := s.open()
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		opts.Journal = &mortal{f, &s.dead, func() { s.at("journal") }}
	}
	rep, err := copyWith(ctx, s.t, s.m, s.src, s.dst, opts, s.ranges...)
	if err == nil && s.dead.Load() {
		err = fmt.Errorf("%w after %+v", errDead, rep)
	}
	s.dead.Store(false)
	s.m.Start()
	s.settle()
	if closeErr := s.m.Close(); closeErr != nil {
		s.t.Fatal(closeErr)
	}
	s.m.Reopen()
	s.m.CrossNamespaces(s.crossing, nil)
	return err
}

// settle lets everything end that the process has left behind.
func (s *soak) settle() {
	s.mu.Lock()
	ghosts, moves := s.ghosts, s.moves
	s.ghosts, s.moves = nil, nil
	for _, e := range s.events {
		if e.hook == "end" && !e.over {
			e.over = true
			e.do()
		}
	}
	s.mu.Unlock()
	for _, g := range ghosts {
		close(g)
	}
	for _, d := range s.disks[:len(s.disks)-1] {
		s.m.Loopback(d.dev).Wait()
	}
	for _, over := range moves {
		<-over
	}
}

func (s *soak) open() (*journal.File, error) {
	f, err := journal.Open(s.path)
	if err != nil {
		return nil, err
	}
	var ranges []journal.Range
	for _, g := range s.ranges {
		ranges = append(ranges, journal.Range(g))
	}
	end := func(dev remap.Dev) journal.End {
		return journal.End{Name: dev.String(), Identity: dev.String(), Size: s.m.Endpoint(dev).Device.Size()}
	}
	plan := journal.Plan{Source: end(s.src), Destination: end(s.dst), Ranges: journal.SumUp(ranges)}
	if f.Unfinished() {
		return f, f.Resume(plan, ranges)
	}
	f.Begin(plan, "/", []string{"copy"})
	return f, nil
}
