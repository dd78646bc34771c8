package copies

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/vm"
)

const stuckSize = 16 * mib

// bench is a part of a disk for one test, and names for what it makes.
type bench struct {
	t    *testing.T
	name string
	disk string
	next int64 // bytes
}

// stuckRoom is how much of the disk a bench has, in bytes.
const stuckRoom = 96 * mib

// part makes a linear device of a bench.
func (b *bench) part(name string, bytes int64) string {
	path := vm.Linear(b.t, b.called(name), b.disk, b.next, bytes)
	b.next += bytes
	return path
}

// source is a part that is to be copied.
func (b *bench) source(name string) string {
	path := b.part(name, stuckSize)
	vm.Stamp(b.t, path, 1, 0, stuckSize)
	return path
}

func (b *bench) called(name string) string { return b.name + "-" + name }

// jam is a way for the kernel to keep I/O, and how to make it let go.
type jam struct {
	src, dst string
	flags    []string
	jam      func() // nil if it is there from the start
	free     func()
}

// suspended is a jam by somebody who suspends a device.
func suspended(b *bench, which string, flags ...string) jam {
	j := jam{src: b.source("src"), dst: b.part("dst", stuckSize), flags: flags}
	device := map[string]string{"source": j.src, "destination": j.dst}[which]
	j.jam = func() { vm.Run(b.t, "dmsetup", "suspend", device) }
	j.free = func() { vm.Run(b.t, "dmsetup", "resume", device) }
	return j
}

// flushing is a jam of a device that is slow to flush.
func flushing(b *bench) jam {
	lower := b.part("lower", stuckSize)
	dst := vm.Mapped(b.t, b.called("dst"), fmt.Sprintf("0 %d delay %s 0 0 %s 0 0 %s 0 60000", stuckSize/512, lower, lower, lower))
	return jam{src: b.source("src"), dst: dst, flags: []string{"--offload", "never"}, free: func() {
		vm.Reload(b.t, dst, fmt.Sprintf("0 %d linear %s 0", stuckSize/512, lower))
	}}
}

// pathless is a jam of a source all paths of which are gone.
func pathless(b *bench) jam {
	lower := b.source("lower")
	src := vm.Mapped(b.t, b.called("src"),
		fmt.Sprintf("0 %d multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 1 1 %s 1000", stuckSize/512, lower))
	path := strings.TrimSpace(vm.Run(b.t, "dmsetup", "info", "-c", "--noheadings", "--separator=:", "-omajor,minor", lower))
	return jam{
		src: src, dst: b.part("dst", stuckSize), flags: []string{"--offload", "never"},
		jam:  func() { vm.Message(b.t, src, "fail_path", path) },
		free: func() { vm.Message(b.t, src, "reinstate_path", path) },
	}
}

// pathlessFromTheStart lets the copy see it when it is planned.
func pathlessFromTheStart(b *bench) jam {
	j := pathless(b)
	vm.Settle(b.t)
	j.jam()
	j.jam = nil
	return j
}

// full is a jam of a thin pool without room.
func full(b *bench) jam {
	const room, more = 8 * mib, 24 * mib
	src, meta := b.source("src"), b.part("meta", 4*mib)
	vm.Run(b.t, "dd", "if=/dev/zero", "of="+meta, "bs=4096", "count=1", "oflag=direct", "status=none") // as a new pool wants it
	start := b.next
	data := b.part("data", room)
	table := func(bytes int64) string {
		return fmt.Sprintf("0 %d thin-pool %s %s 128 0 1 skip_block_zeroing", bytes/512, meta, data)
	}
	pool := vm.Mapped(b.t, b.called("pool"), table(room))
	vm.Message(b.t, pool, "create_thin 0")
	dst := vm.Mapped(b.t, b.called("dst"), fmt.Sprintf("0 %d thin %s 0", stuckSize/512, pool))
	return jam{src: src, dst: dst, free: func() {
		vm.Reload(b.t, data, fmt.Sprintf("0 %d linear %s %d", more/512, b.disk, start/512))
		vm.Reload(b.t, pool, table(more))
	}}
}

// program is dmcopy, running.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	out chan string // all of stdout, when it has ended
	// What stderr says closes these, and its end.
	begun, asked, waits *event
	ended               chan struct{}
	said                []string // all but the progress; complete when ended is closed
}

// event is something that happens once.
type event struct {
	happened chan struct{}
	once     sync.Once
}

func newEvent() *event { return &event{happened: make(chan struct{})} }

func (e *event) happen() { e.once.Do(func() { close(e.happened) }) }

func begin(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{
		t: t, cmd: exec.Command("dmcopy", args...), out: make(chan string, 1),
		begun: newEvent(), asked: newEvent(), waits: newEvent(), ended: make(chan struct{}),
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		all, _ := io.ReadAll(stdout)
		p.out <- string(all)
	}()
	go func() {
		p.listen(stderr)
		p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// listen reads stderr to its end.
func (p *program) listen(stderr io.Reader) {
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		line := lines.Text()
		var status struct {
			Type string `json:"message_type"`
			Done int64  `json:"bytes_done"`
		}
		progress := json.Unmarshal([]byte(line), &status) == nil && status.Type == "status"
		if !progress {
			p.said = append(p.said, line)
		}
		switch {
		case progress && status.Done > 0:
			p.begun.happen()
		case progress:
		case strings.Contains(line, "interrupt again"):
			p.asked.happen()
		case strings.Contains(line, "waiting for "):
			p.waits.happen()
		}
	}
	p.begun.happen()
	p.asked.happen()
	p.waits.happen()
}

// jammed waits until the kernel keeps a thread or a request of the program: none of its I/O
// takes a second otherwise.
func (p *program) jammed() {
	p.t.Helper()
	const enough = 20 // looks at the same
	kept := make(map[string]int)
	vm.Eventually(p.t, "a thread or a request that the kernel keeps", func() error {
		now := append(p.asleep(), p.requests()...)
		for what := range kept {
			if !slices.Contains(now, what) {
				delete(kept, what)
			}
		}
		for _, what := range now {
			if kept[what]++; kept[what] >= enough {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
		return fmt.Errorf("%v", kept)
	})
}

// asleep names the threads of the program that sleep uninterruptibly.
func (p *program) asleep() (names []string) {
	p.t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range threads {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), ") D ") {
			names = append(names, path)
		}
	}
	return names
}

// requests names the rings of the program with requests under way, and how far they have come
// (io_uring/fdinfo.c). One request is for what wakes the program.
func (p *program) requests() (names []string) {
	p.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range files {
		text, _ := os.ReadFile(path)
		numbers := map[string]uint32{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
				numbers[name] = uint32(n)
			}
		}
		if taken, ended := numbers["SqHead"], numbers["CqTail"]; taken-ended > 1 {
			names = append(names, fmt.Sprintf("%s: %d of %d", path, ended, taken))
		}
	}
	return names
}

// stop interrupts it twice.
func (p *program) stop() {
	p.t.Helper()
	p.interrupt()
	p.wait("the answer", p.asked.happened)
	p.wait("what it waits for", p.waits.happened)
	p.interrupt()
}

// wait bounds the wait for something that has to happen soon; it is no measure.
func (p *program) wait(what string, on <-chan struct{}) {
	p.t.Helper()
	select {
	case <-on:
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("%s: still waiting", what)
	}
}

// answer is what stdout holds. Nobody has to wait for the end of the program for it.
func (p *program) answer() string {
	p.t.Helper()
	select {
	case all := <-p.out:
		return all
	case <-time.After(2 * time.Minute):
		p.t.Fatal("stdout has not ended")
		return ""
	}
}

func (p *program) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(unix.SIGINT); err != nil {
		p.t.Fatal(err)
	}
}

// inKernel tells whether the program has ended but for calls that the kernel keeps.
func (p *program) inKernel() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stuckCase is a copy that is to end while the kernel keeps I/O of it.
type stuckCase struct {
	name       string
	build      func(b *bench) jam
	state      bool
	interrupts bool // twice, else it has --timeout
	code       int
	says       string // of the source or of the destination
	source     bool
	// blocks: a thread waits for it, which keeps the program from being gone.
	blocks bool
}

func stuckDestination(b *bench) jam { return suspended(b, "destination", "--offload", "never") }
func stuckSource(b *bench) jam      { return suspended(b, "source", "--offload", "never") }

var stuckCases = []stuckCase{
	{name: "destination interrupted", build: stuckDestination, state: true, interrupts: true, code: 130, says: "of %s"},
	{name: "source interrupted", build: stuckSource, interrupts: true, code: 130, says: "read of %s at byte", source: true},
	{name: "destination", build: stuckDestination, state: true, code: 3, says: "of %s"},
	{name: "source", build: stuckSource, code: 1, says: "read of %s at byte", source: true},
	{name: "flush", build: flushing, blocks: true, code: 1, says: "flush of %s, for"},
	{name: "checkpoint", build: flushing, blocks: true, state: true, code: 3, says: "flush of %s, for"},
	{name: "path", build: pathless, code: 1, says: "read of %s at byte", source: true},
	{name: "path in planning", build: pathlessFromTheStart, state: true, blocks: true, code: 1, says: "read of %s at byte 0", source: true},
	{name: "pool", build: full, state: true, code: 3, says: "of %s"},
}

// TestStuck: whatever the kernel keeps, a copy that is to end says what it waits
// for and reports what was done, at once or in time; when the kernel lets go, it
// is gone, and the state is right.
func TestStuck(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	disk := vm.Device(t, plain)
	for i, c := range stuckCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, &bench{t: t, name: fmt.Sprintf("stuck%d", i), disk: disk, next: mib + int64(i)*stuckRoom})
		})
	}
}

func (c *stuckCase) run(t *testing.T, b *bench) {
	j := c.build(b)
	args := append([]string{"copy", "--json", "--progress", "json", "--rate", "2M"}, j.flags...)
	state := filepath.Join(t.TempDir(), "state")
	if c.state {
		args = append(args, "--state", state, "--state-every", "200ms")
	}
	args = append(args, j.src, j.dst)
	p := c.begin(t, args, j)
	c.check(p, j)
	if !c.blocks { // what it has asked for goes on without it
		p.wait("the end", p.ended)
	}
	if c.state { // the destination is suspended, or still claimed
		if _, errs, code := run(t, args...); code != 6 {
			t.Errorf("the next one: exit code %d: %s", code, errs)
		}
	}
	j.free()
	p.wait("the end", p.ended)
	t.Log(strings.Join(p.said, "\n"))
	if code := p.cmd.ProcessState.ExitCode(); code != c.code {
		t.Errorf("exit code %d, want %d", code, c.code)
	}
	if c.state && c.code != 1 {
		recorded(t, state, j.src, j.dst)
	}
	vm.Eventually(t, "the destination let go of", func() error {
		_, errs, code := run(t, args...)
		if code != 0 && code != 6 {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		if code == 6 {
			return errors.New(errs)
		}
		return nil
	})
	vm.CheckStamp(t, j.dst, 1, 0, 0, stuckSize)
}

// begin starts the copy, and has it end.
func (c *stuckCase) begin(t *testing.T, args []string, j jam) *program {
	t.Helper()
	if !c.interrupts {
		args = append(args[:len(args):len(args)], "--timeout", "20s")
	}
	p := begin(t, args...)
	if j.jam != nil {
		p.wait("progress", p.begun.happened)
		j.jam()
	}
	if c.interrupts {
		p.jammed()
		p.stop()
	}
	return p
}

// check looks at what it says while it is stuck.
func (c *stuckCase) check(p *program, j jam) {
	p.t.Helper()
	says := fmt.Sprintf(c.says, j.dst)
	if c.source {
		says = fmt.Sprintf(c.says, j.src)
	}
	out := p.answer()
	if c.blocks && !p.inKernel() {
		p.t.Error("it has ended: nothing was stuck")
	}
	p.t.Log(out)
	var report account.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || !strings.Contains(out, says) || !strings.Contains(out, inflight.ErrStuck.Error()) {
		p.t.Errorf("%v: it does not say %q", err, says)
	}
	if report.Result != "" && (report.Result != account.OutcomeIncomplete || report.Offloaded+report.Host > stuckSize) {
		p.t.Errorf("%+v", report)
	}
}

// recorded compares what a state says to be done.
func recorded(t *testing.T, state, src, dst string) {
	t.Helper()
	s, err := journal.Read(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Map.Extents() {
		if err := vm.Compare(src, e.Off, dst, e.Off, e.Len); e.Status != journal.Done || err != nil {
			t.Errorf("%+v is said to be done: %v", e, err)
		}
	}
}

// TestSuspendedInWindow: a device that is suspended while windows are held is
// waited for without I/O: the program ends as a whole.
func TestSuspendedInWindow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	for _, which := range []string{"source", "destination"} {
		t.Run(which, func(t *testing.T) {
			b := &bench{t: t, name: "window", disk: vm.Device(t, alpha2), next: mib}
			j := suspended(b, which)
			state := filepath.Join(t.TempDir(), "state")
			args := []string{"copy", "--json", "--progress", "json", "--rate", "4M", "--state", state, j.src, j.dst}
			p := begin(t, append(args[:len(args):len(args)], "--timeout", "8s")...)
			p.wait("progress", p.begun.happened)
			j.jam()
			p.wait("the end", p.ended)
			out := p.answer()
			device := filepath.Base(map[string]string{"source": j.src, "destination": j.dst}[which])
			if code := p.cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(out, "waiting for "+device+", which is suspended") {
				t.Errorf("exit code %d: %s%s", code, out, strings.Join(p.said, "\n"))
			}
			j.free()
			recorded(t, state, j.src, j.dst)
			if _, errs, code := run(t, args...); code != 0 {
				t.Fatalf("exit code %d: %s", code, errs)
			}
			vm.CheckStamp(t, j.dst, 1, 0, 0, stuckSize)
		})
	}
}

// TestCommandStuck: a command that the device keeps is waited for, because it may
// still write; that is said in time, and not done for somebody who interrupts twice.
func TestCommandStuck(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	b := &bench{t: t, name: "command", disk: vm.Device(t, alpha2), next: mib}
	src, dst := b.part("src", stuckSize), b.part("dst", stuckSize)
	for _, interrupts := range []bool{false, true} {
		vm.Stamp(t, src, 1, 0, stuckSize)
		vm.Stamp(t, dst, 2, 0, stuckSize)
		state := filepath.Join(t.TempDir(), "state")
		args := []string{"copy", "--json", "--offload", "require", "--state", state, src, dst}
		letGo, err := vm.Hold(alpha2, "write")
		if err != nil {
			t.Fatal(err)
		}
		code := 3
		var p *program
		if interrupts {
			code = 130
			p = begin(t, args...)
			vm.Eventually(t, "a Copy in flight", copyInFlight)
			p.stop()
			if out := p.answer(); !p.inKernel() || !strings.Contains(out, "copy commands of ") {
				t.Error(out)
			}
		} else {
			p = begin(t, append([]string{"copy", "--timeout", "4s"}, args[1:]...)...)
			vm.Eventually(t, "a Copy in flight", copyInFlight)
			p.wait("what it waits for", p.waits.happened)
			if !p.inKernel() {
				t.Error("it has ended")
			}
		}
		if err := errors.Join(letGo(), vm.SetFaults(alpha2)); err != nil {
			t.Fatal(err)
		}
		p.wait("the end", p.ended)
		said := strings.Join(p.said, "\n")
		t.Log(said)
		if got := p.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(said, "copy commands of ") {
			t.Errorf("exit code %d, want %d", got, code)
		}
		if _, errs, code := run(t, args...); code != 0 {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		vm.CheckStamp(t, dst, 1, 0, 0, stuckSize)
	}
}

// copyInFlight tells whether a disk has a passthrough command that sends data.
func copyInFlight() error {
	lists, err := filepath.Glob("/sys/kernel/debug/block/nvme*/hctx*/busy")
	if err != nil {
		return err
	}
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil && strings.Contains(string(text), "DRV_OUT") {
			return nil
		}
	}
	return fmt.Errorf("none in %d queues", len(lists))
}
