package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/vm"
)

// stack builds a source and a destination, and copies between them.
func (l *lab) stack(t *testing.T, rng *rand.Rand) {
	if rng.IntN(16) == 0 {
		l.volumes(t, rng)
		return
	}
	l.refresh(t, rng)
	b := newBuilder(t, rng, l.disks)
	defer b.remove()
	size := (1 + rng.Int64N(1500/b.align)) * b.align * 2
	src, dst := b.device(size, rng.IntN(3)), b.device(size, rng.IntN(3))
	for range trialsPerStack {
		length := 1 + rng.Int64N(size)
		s := &trial{
			lab: l, t: t, rng: rng, builder: b, src: src, dst: dst,
			srcOff: rng.Int64N(size-length+1) * 512, dstOff: rng.Int64N(size-length+1) * 512, length: length * 512,
		}
		s.run()
		if t.Failed() {
			for _, d := range b.made {
				t.Logf("%s: %s", d.name, vm.Run(t, "dmsetup", "table", d.name))
			}
			return
		}
	}
}

// trial is a copy, and what happens to it.
type trial struct {
	*lab
	t                      *testing.T
	rng                    *rand.Rand
	builder                *builder
	src, dst               string
	srcOff, dstOff, length int64 // bytes

	args  []string
	state string // file; empty for a copy without one
	want  []byte
	proc  *process
	// excused is what has happened to the process that may have ended it.
	excused string
	undo    []func()
	slowed  func() // makes the disks fast again
	happens []string
}

// choose draws how it is copied.
func (s *trial) choose() {
	pick := func(values ...string) string { return values[s.rng.IntN(len(values))] }
	s.args = []string{
		"copy", "--json", "--src-offset", fmt.Sprint(s.srcOff), "--dst-offset", fmt.Sprint(s.dstOff), "--length", fmt.Sprint(s.length),
		"--window", pick("1M", "2G"), "--in-flight", pick("1", "2", "8"),
		"--offload", pick("auto", "auto", "auto", "auto", "never"), "--hold", pick("auto", "auto", "auto", "auto", "none"),
		"--verify", pick("none", "none", "sample", "full"), "--timeout", "100s",
	}
	if s.rng.IntN(4) == 0 {
		s.args = append(s.args, "--sparse")
	}
	s.state = ""
	if s.rng.IntN(3) > 0 {
		s.state = filepath.Join(s.scratch, "state")
		s.args = append(s.args, "--state", s.state, "--state-every", pick("1ms", "50ms", "5s"))
	}
	s.args = append(s.args, s.src, s.dst)
}

// long is how long a trial takes that is worth to be told of.
const long = 10 * time.Second

// run copies until all is copied.
func (s *trial) run() {
	defer func() {
		if s.t.Failed() {
			s.t.Logf("dmcopy %q, %v", s.args, s.happens)
		}
	}()
	s.choose()
	s.settle(s.t)
	s.want = vm.Aligned(s.t, s.length)
	vm.ReadDirect(s.t, s.src, s.want, s.srcOff)
	s.warm()
	began := time.Now()
	for attempt := 0; ; attempt++ {
		if s.once(s.events(attempt)) || s.t.Failed() {
			break
		}
		s.checkDone()
	}
	if took := time.Since(began); took > long {
		s.t.Logf("took %v: %v", took.Round(time.Second), s.happens)
	}
	s.count("trials", 1)
	if s.state != "" {
		if err := os.Remove(s.state); err != nil && !s.t.Failed() {
			s.t.Error(err)
		}
	}
	if !s.t.Failed() {
		s.check()
	}
}

// once is the life of one process; it tells whether the copy is complete.
func (s *trial) once(events []event) bool {
	s.excused = ""
	s.happens = append(s.happens, "start")
	s.slow()
	began := time.Now()
	s.proc = s.start()
	for _, e := range events {
		if s.proc.lives(time.Until(began.Add(e.at))) {
			s.happens = append(s.happens, e.name)
			e.do()
			s.count(e.name, 1)
		}
	}
	s.proc.wait(s.t)
	if len(events) == 0 {
		s.usual += (time.Since(began) - s.usual) / 8
	}
	s.slowed()
	s.calm()
	report, code := s.proc.report, s.proc.code()
	s.happens = append(s.happens, fmt.Sprintf("exit %d after %v", code, time.Since(began).Round(time.Millisecond)))
	if report != nil {
		s.count("offloaded bytes", int(report.Offloaded))
		s.count("host bytes", int(report.Host))
		s.count("layout changes that were seen", int(report.LayoutChanges))
		s.count("fallbacks", int(report.Fallbacks))
		s.count("commands", int(report.Commands))
	}
	if code != 0 && s.excused == "" {
		s.t.Errorf("exit code %d: %s%s", code, s.proc.stdout.Bytes(), s.proc.stderr.Bytes())
	}
	return code == 0
}

// calm ends what goes on.
func (s *trial) calm() {
	for _, f := range slices.Backward(s.undo) {
		f()
	}
	s.undo = nil
}

// checkDone compares what is said to be done.
func (s *trial) checkDone() {
	if s.state == "" {
		return
	}
	state, err := journal.Read(s.state)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, journal.ErrEmpty) {
		return
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	got := vm.Aligned(s.t, s.length)
	vm.ReadDirect(s.t, s.dst, got, s.dstOff)
	for _, e := range state.Map.Extents() {
		from, to := e.Off-s.dstOff, e.Off-s.dstOff+e.Len
		if e.Status == journal.Done && !bytes.Equal(got[from:to], s.want[from:to]) {
			s.t.Errorf("of %+v, which is said to be done, not all is there", e)
		}
	}
}

// warm puts what the destination holds now into its page cache, now and then.
func (s *trial) warm() {
	if s.rng.IntN(3) == 0 {
		s.buffered()
	}
}

func (s *trial) buffered() []byte {
	f, err := os.Open(s.dst)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, s.length)
	if _, err := f.ReadAt(p, s.dstOff); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// check compares everything there is with what it has to be. Where the destination lies, the kernel says: the
// complement of the data is written through the top.
func (s *trial) check() {
	t := s.t
	got := vm.Aligned(t, s.length)
	vm.ReadDirect(t, s.dst, got, s.dstOff)
	if !bytes.Equal(got, s.want) {
		t.Error("the destination is not equal to the source")
	}
	if !bytes.Equal(s.buffered(), s.want) {
		t.Error("the page cache of the destination is stale")
	}
	s.load(t, s.after)
	for i, c := range s.want {
		got[i] = ^c
	}
	vm.WriteDirect(t, s.dst, got, s.dstOff)
	s.load(t, s.flipped)
	checkForeign(t, s.expected, s.after, s.flipped)
	vm.WriteDirect(t, s.dst, s.want, s.dstOff)
	s.expected, s.after = s.after, s.expected
}

// process is a copy by the program itself.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	over           chan struct{}
	report         *account.Report // nil if it printed none
}

func (s *trial) start() *process {
	p := &process{cmd: exec.Command("dmcopy", s.args...), over: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(s.cgroup.dir.Fd())}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.over)
		p.cmd.Wait()
	}()
	return p
}

// lives tells whether it still runs after a while.
func (p *process) lives(after time.Duration) bool {
	select {
	case <-p.over:
		return false
	case <-time.After(max(after, 0)):
	}
	select {
	case <-p.over:
		return false
	default:
		return true
	}
}

// hang is how long a copy may take that does not end by itself; it is no measure.
const hang = 5 * time.Minute

// wait waits for the end, which has to come.
func (p *process) wait(t *testing.T) {
	select {
	case <-p.over:
	case <-time.After(hang):
		p.cmd.Process.Signal(unix.SIGQUIT)
		select {
		case <-p.over:
		case <-time.After(hang):
		}
		stack, _ := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stack")
		t.Fatalf("a copy hangs: %s\n%s", p.stderr.Bytes(), stack)
	}
	report := new(account.Report)
	if json.Unmarshal(p.stdout.Bytes(), report) == nil {
		p.report = report
	}
}

func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }
