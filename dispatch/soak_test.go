package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestSoak copies between random stacks while the layout changes, disks and commands
// fail, the process is killed, the power is cut and the disk of the state file is full,
// each at a random moment. Whatever happens, nothing but the destination is written; and
// what was interrupted goes on and ends well. For more of it: make soak-fake.
func TestSoak(t *testing.T) {
	dir := memory(t)
	happened := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		s := newSoak(rt, filepath.Join(dir, fmt.Sprint(happened["trials"])))
		var failed any
		synctest.Test(t, func(*testing.T) {
			defer func() {
				failed = recover()
				if _, crashed := failed.(runtime.Error); crashed {
					rt.Logf("%s", debug.Stack())
				}
			}()
			s.run()
		})
		if failed != nil {
			panic(failed) // rapid ends its checks so
		}
		s.m.Scrap()
		happened["trials"]++
		s.count(happened)
	})
	t.Logf("%v", happened)
}

// soak is one trial.
type soak struct {
	*builder
	controllers
	src, dst remap.Dev
	ranges   []byterange.Range
	opts     dispatch.Options
	path     string // of the state file; empty for a copy without one

	mu      sync.Mutex
	events  []*event
	counts  map[string]int
	waits   []<-chan struct{} // for what goes on when the process is gone
	ghosts  []chan struct{}
	ends    []func() // what makes the machine whole again
	methods map[account.Method]bool
	runs    int
	// excused is what has happened to the run that may have ended it.
	excused   string
	suspended time.Duration // of this run, in all
	full      fullness
	// resized is that an end is not as long as it was, and lent that the destination
	// may have lost what this run has copied, or earlier ones: then no copy goes on, but
	// begins anew.
	resized, lent, wasLent, anew bool
	dead                         atomic.Bool
	// left is that the destination may have lost what earlier runs have copied, and
	// unseen that it was moved without it since the layout was compared last: nobody
	// can know.
	left   bool
	unseen atomic.Bool
	idle   bool // no process runs
	cancel context.CancelFunc
}

// maxRun is how long no run takes, in the time of its bubble.
const maxRun = time.Hour

func newSoak(t *rapid.T, dir string) *soak {
	s := &soak{builder: &builder{t: t, ciphers: true, disk: 1 << 11}, counts: make(map[string]int), methods: make(map[account.Method]bool)}
	s.machine()
	s.attach()
	size := s.size()
	s.makeEnds(size)
	if s.ranges = s.builder.ranges(size); s.ranges == nil {
		s.ranges = []byterange.Range{{Len: size.Bytes()}}
	}
	s.chooseOptions()
	if !s.rarely("no state", 4) {
		s.path = filepath.Join(dir, "state")
	}
	for range s.draw("events", 1, 8) {
		e := &event{hook: rapid.SampledFrom(soakHooks).Draw(t, "hook"), number: s.draw("call", 0, 8)}
		s.choose(e)
		s.events = append(s.events, e)
	}
	s.installHooks()
	return s
}

// rarely is true once in about so many times; small numbers are drawn more often than
// others.
func (s *soak) rarely(what string, times int) bool { return s.draw(what, 0, times-1) == times/2+1 }

// size of a volume: of several windows, as a rule.
func (s *soak) size() remap.Sector {
	most := min(300, 600/int(s.unit))
	if rapid.Bool().Draw(s.t, "large") {
		return remap.Sector(s.draw("size", most/2, most)) * s.unit
	}
	return remap.Sector(s.draw("size", 8, most)) * s.unit
}

// makeEnds makes source and destination: volumes, or volumes enciphered with one key.
func (s *soak) makeEnds(size remap.Sector) {
	s.src, s.dst = s.volume(size, 1, false), s.volume(size, 1, true)
	if !s.rarely("enciphered", 4) {
		return
	}
	key := s.key()
	for _, end := range []*remap.Dev{&s.src, &s.dst} {
		*end = s.m.AddMapped(fakestack.Segment{Len: size, Target: fakestack.Crypt{Place: fakestack.Place{Dev: *end}, Key: key}})
	}
}

func (s *soak) chooseOptions() {
	s.opts = dispatch.Options{
		Window: 64 * kib, InFlight: s.draw("in flight", 1, 4), Sparse: rapid.Bool().Draw(s.t, "sparse"),
		Verify:     rapid.SampledFrom([]account.Verify{account.VerifyNone, account.VerifyNone, account.VerifySample, account.VerifyFull}).Draw(s.t, "verify"),
		OnError:    rapid.SampledFrom([]hostcopy.OnError{hostcopy.OnErrorStop, hostcopy.OnErrorContinue}).Draw(s.t, "on error"),
		Journaling: dispatch.Journaling{JournalEvery: rapid.SampledFrom([]time.Duration{0, 5 * time.Second}).Draw(s.t, "journal every")},
	}
	s.m.NoAnchor = s.rarely("no anchor", 16)
	if s.rarely("never", 16) {
		s.opts.Offload = plan.OffloadNever
	}
}

func (s *soak) installHooks() {
	at := func(hook string) func(int) { return func(int) { s.at(hook) } }
	s.m.Hooks = fakestack.Hooks{
		Stack:         at("stack"),
		BeforeChanges: func(int) error { s.at("before changes"); return nil },
		AfterChanges:  func(int) { s.unseen.Store(false); s.at("after changes") },
		Hold:          func(int) error { s.at("hold"); return nil },
		Held:          at("held"),
		Release:       at("release"),
		Command:       func(int, *nvme.Command) { s.at("command") },
		Landed:        func(int, *nvme.Command) { s.at("landed") },
		Sent:          func(int, *scsi.Command) { s.at("command") },
		Answered:      func(int, *scsi.Command) { s.at("landed") },
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
	s.m.Await()
	s.mu.Lock()
	if s.idle {
		s.mu.Unlock()
		return
	}
	var after []func()
	n := s.counts[hook]
	s.counts[hook]++
	for _, e := range slices.Clone(s.events) {
		if e.hook == hook && !e.over && n >= e.number {
			e.over = true
			e.do()
			if e.after != nil {
				after = append(after, e.after)
			}
		}
	}
	s.mu.Unlock()
	for _, do := range after {
		do()
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
	for last := maxFull*len(s.events) + 1; ; last-- {
		err := s.once()
		if err == nil && s.unseen.Load() {
			s.lent, s.excused = true, "leave"
		}
		if err == nil && !s.lent {
			break
		}
		refused := (s.wasLent || s.left) && errors.Is(err, failure.ErrRefused)
		s.anew, s.lent, s.wasLent = s.anew || s.lent || refused, false, s.wasLent || s.lent
		if why := s.excused; why == "" && !refused || last == 0 {
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
	ctx, cancel := context.WithTimeout(context.Background(), maxRun)
	defer cancel()
	s.begin(cancel)
	opts := s.opts
	if s.path != "" {
		f, err := s.open()
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		opts.Journal = &mortal{f, &s.dead, func() { s.at("journal") }, s.full.write}
	}
	rep, err := copyWith(ctx, s.t, s.m, s.src, s.dst, opts, s.ranges...)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.t.Fatalf("a run of more than %v: %v", maxRun, err)
	}
	if rep != nil {
		for method := range rep.ByMethod {
			s.methods[method] = true
		}
	}
	if err == nil && s.dead.Load() {
		err = fmt.Errorf("%w after %+v", errDead, rep)
	}
	s.settle()
	if closeErr := s.m.Close(); closeErr != nil {
		s.t.Fatal(closeErr)
	}
	s.m.Reopen()
	s.m.CrossNamespaces(s.crossMode, nil)
	return err
}

func (s *soak) begin(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.cancel, s.idle, s.excused, s.suspended = cancel, false, "", 0
	s.unseen.Store(false)
}

// settle lets everything end that the process has left behind.
func (s *soak) settle() {
	s.mu.Lock()
	ghosts, waits, ends := s.ghosts, s.waits, s.ends
	s.ghosts, s.waits, s.ends = nil, nil, nil
	s.idle = true
	s.mu.Unlock()
	s.dead.Store(false)
	s.m.Start()
	for _, g := range ghosts {
		close(g)
	}
	s.controllers.settle()
	synctest.Wait() // for commands that were given up, and come back
	for _, over := range waits {
		<-over
	}
	// What a device kept that was suspended comes back now. Until then the process is
	// not gone, and has the destination to itself.
	synctest.Wait()
	for _, end := range ends {
		end()
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
	if f.Unfinished() && !s.anew {
		err := f.Resume(plan, ranges)
		if err == nil || !s.resized || !errors.Is(err, journal.ErrDiffers) {
			return f, err
		}
	}
	s.anew = false
	f.Begin(plan, "/", []string{"copy"})
	return f, nil
}

// count adds what has happened.
func (s *soak) count(happened map[string]int) {
	happened["runs"] += s.runs
	for _, e := range s.events {
		if e.over {
			happened[e.name]++
		}
	}
	for method := range s.methods {
		happened["by "+string(method)]++
	}
}
