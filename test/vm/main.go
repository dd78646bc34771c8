package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Main is a suite's TestMain: it never returns. On the host it boots the machine and runs this test binary in it; in the
// guest it runs the tests. A machine that cannot be set up or does not boot fails the suite, it never skips.
func Main(m *testing.M, machine Machine) {
	if InGuest() {
		os.Exit(m.Run())
	}
	code, err := hostMain(machine)
	if err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: vm: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// guestGrace is how much longer than -test.timeout the host waits: in the guest the test binary reports a timeout itself,
// with its goroutines. It stays below the minute after which the go command kills us.
const guestGrace = 40 * time.Second

func hostMain(machine Machine) (int, error) {
	flags, err := translateFlags(os.Args[1:])
	if err != nil {
		return -1, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return -1, err
	}
	exe, remove, err := testProgram(machine)
	if err != nil {
		return -1, err
	}
	defer remove()
	payload := Payload{Program: exe, Args: flags.guest, Dir: dir, Stdout: os.Stdout, Stderr: os.Stderr, Console: os.Stderr}
	if flags.timeout > 0 {
		payload.Timeout = flags.timeout + guestGrace
	}
	if len(flags.outputs) > 0 {
		if payload.Out, err = os.MkdirTemp("", "dmcopy-vm-out-"); err != nil {
			return -1, err
		}
		defer os.RemoveAll(payload.Out)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer cancel()
	code, err := runAgain(os.Stderr, payload, func(p Payload) (int, error) { return machine.Run(ctx, p) })
	if err != nil {
		return code, err
	}
	return code, flags.fetch(payload.Out)
}

// testProgram is this test binary, or one of the same package for the guest's architecture. What was made is removed
// by the function that it returns.
func testProgram(machine Machine) (path string, remove func(), err error) {
	machine, err = machine.withDefaults()
	if err != nil {
		return "", nil, fmt.Errorf("machine: %w", err)
	}
	path, err = os.Executable()
	a := archOf(machine.Kernel)
	if err != nil || !a.foreign() {
		return path, func() {}, err
	}
	dir, err := os.MkdirTemp("", "dmcopy-vm-test-")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, filepath.Base(path))
	if err := a.goCommand(context.Background(), "test", "-c", "-o", path, "."); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return path, func() { os.RemoveAll(dir) }, nil
}

// runAgain runs the payload, and once more if QEMU aborted: an assertion of the emulator says nothing about what is
// tested. It tells so on log. Where a test has failed before, it does not: that failure counts.
func runAgain(log io.Writer, p Payload, run func(Payload) (int, error)) (int, error) {
	out, errs := &failureWatch{to: p.Stdout}, &failureWatch{to: p.Stderr}
	watched := p
	watched.Stdout, watched.Stderr = out, errs
	code, err := run(watched)
	if !errors.Is(err, ErrAborted) || out.failed() || errs.failed() {
		return code, err
	}
	fmt.Fprintf(log, "vm: %v\nvm: no test had failed until then: running this guest again, once\n", err)
	return run(p)
}

// failureWatch passes on the output of a test binary, and knows whether it tells of a failure.
type failureWatch struct {
	to   io.Writer
	seen bool
	line []byte // the last one, as far as it has come
}

func (w *failureWatch) Write(p []byte) (int, error) {
	for _, c := range p {
		if c != '\n' {
			w.line = append(w.line, c)
			continue
		}
		w.seen = w.failed()
		w.line = w.line[:0]
	}
	return w.to.Write(p)
}

// failed tells whether a test, a sub-test, the binary or the race detector has reported a failure.
func (w *failureWatch) failed() bool {
	line := bytes.TrimLeft(w.line, " ")
	for _, start := range []string{"--- FAIL", "FAIL", "panic:", "fatal error:", "WARNING: DATA RACE"} {
		if bytes.HasPrefix(line, []byte(start)) {
			return true
		}
	}
	return w.seen
}

// newLineReader returns a function that reads one line, without its end.
func newLineReader(r io.Reader) func() (string, error) {
	in := bufio.NewReader(r)
	return func() (string, error) {
		line, err := in.ReadString('\n')
		return strings.TrimRight(line, "\n"), err
	}
}

// testFlags are the flags of a test binary, for the guest.
type testFlags struct {
	guest     []string
	timeout   time.Duration     // -test.timeout; 0 means none
	outputs   map[string]string // base name in OutDir → path on the host
	outputDir string            // -test.outputdir
}

// Flags whose value is a file that the test binary writes into -test.outputdir.
var outputFlags = map[string]bool{"coverprofile": true, "cpuprofile": true, "memprofile": true, "blockprofile": true,
	"mutexprofile": true, "trace": true}

// Flags about files of the go command that mean nothing in the guest.
var droppedFlags = map[string]bool{"testlogfile": true, "gocoverdir": true, "fuzzcachedir": true, "outputdir": true}

// translateFlags makes the guest's command line from ours. The go command always writes -test.NAME=VALUE; flags of the
// suite itself and what follows them are passed on as they are.
func translateFlags(args []string) (*testFlags, error) {
	f := &testFlags{outputs: map[string]string{}}
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		name, isTest := strings.CutPrefix(name, "test.")
		if !isTest || !strings.HasPrefix(args[i], "-") {
			f.guest = append(f.guest, args[i])
			continue
		}
		if (name == "timeout" || outputFlags[name] || droppedFlags[name]) && !hasValue {
			if i++; i == len(args) {
				return nil, fmt.Errorf("flag -test.%s needs a value", name)
			}
			value = args[i]
		}
		switch {
		case name == "timeout":
			timeout, err := time.ParseDuration(value)
			if err != nil {
				return nil, fmt.Errorf("flag -test.timeout: %w", err)
			}
			f.timeout = timeout
			f.guest = append(f.guest, "-test.timeout="+value)
		case name == "outputdir":
			f.outputDir = value
		case droppedFlags[name]:
		case outputFlags[name]:
			f.outputs[filepath.Base(value)] = value
			f.guest = append(f.guest, "-test."+name+"="+filepath.Join(OutDir, filepath.Base(value)))
		case name == "fuzz" && value != "":
			return nil, fmt.Errorf("flag -test.fuzz: fuzzing does not run in a guest; its corpus does, as plain tests")
		default:
			f.guest = append(f.guest, args[i])
		}
	}
	return f, nil
}

// fetch moves the files that the guest wrote to where the go command expects them.
func (f *testFlags) fetch(dir string) error {
	for base, path := range f.outputs {
		if !filepath.IsAbs(path) {
			path = filepath.Join(f.outputDir, path)
		}
		data, err := os.ReadFile(filepath.Join(dir, base))
		if os.IsNotExist(err) {
			continue // the test binary did not get as far as writing it
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			return err
		}
	}
	return nil
}
