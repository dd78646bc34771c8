package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	logrusslog "github.com/sirupsen/logrus/hooks/slog"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
)

// streams are what the program reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// app is one run of the program.
type app struct {
	in  io.Reader
	out io.Writer
	// term is stderr: messages, logs and the progress share it.
	term *terminal
	log  *slog.Logger
	// args is the command line, without the program's name.
	args []string

	logLevel  choice[string]
	logFormat choice[string]
	json      bool
	// draining is set while something is in flight that has to come back, or
	// has to be reported, before the program may end.
	draining atomic.Bool
	// giveUp is closed when nothing is waited for any longer.
	giveUp chan struct{}
	// answered is set once the JSON object of the command is on stdout.
	answered atomic.Bool
}

// run runs the program and returns its exit code.
func run(args []string, s streams) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a := &app{
		in: s.in, out: s.out, term: newTerminal(s.err), log: slog.New(slog.DiscardHandler), args: args,
		giveUp: make(chan struct{}),
	}
	defer a.onSignals(cancel, wantsJSON(args))()
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.fail(err, wantsJSON(args))
	}
	return exitCode(err)
}

// wantsJSON looks for --json by hand: the error to print can be that the
// flags were not understood.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

// leaveAfter is how long the program may take to say what it leaves behind.
const leaveAfter = 5 * time.Second

// onSignals makes SIGINT and SIGTERM end the program: at once where nothing is
// in flight, else the first one cancels the copy, and the second one ends it
// without what does not come back.
func (a *app) onSignals(cancel context.CancelCauseFunc, asJSON bool) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	// SIGUSR1 asks for progress; where there is none yet, it must not kill.
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1)
	done := make(chan struct{})
	leave := func() {
		a.term.setStatus("")
		a.fail(dispatch.ErrInterrupted, asJSON)
		quit(exitCode(dispatch.ErrInterrupted))
	}
	go func() {
		for count := 1; ; count++ {
			var received os.Signal
			select {
			case <-done:
				return
			case received = <-signals:
			}
			switch {
			case !a.draining.Load() || count > 2:
				leave()
			case count == 1:
				a.term.message("dmcopy: stopping when everything in flight has come back; interrupt again to stop at once")
				cancel(&signalError{received})
			default:
				close(a.giveUp)
				time.AfterFunc(leaveAfter, leave)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// quit ends the program. Threads that the kernel keeps stay, and with them what is
// open: whoever reads our output should see the end of it nevertheless.
func quit(code int) {
	_, _ = os.Stdout.Close(), os.Stderr.Close() // nobody can be told
	os.Exit(code)
}

// signalError is why a run was canceled. It is a dispatch.ErrInterrupted.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return "by signal (" + e.signal.String() + ")" }

func (e *signalError) Unwrap() error { return dispatch.ErrInterrupted }

// errTimeout: the time given with --timeout is over.
var errTimeout = errors.New("the time is over")

// deadline bounds a command; 0 is no bound.
func deadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, errTimeout)
}

// explain tells an interruption by --timeout from one by the user.
func explain(ctx context.Context, d time.Duration, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return &timeoutError{d, err}
	}
	return err
}

// timeoutError is what --timeout has ended. It is an errTimeout, and none of what
// came of it.
type timeoutError struct {
	limit time.Duration
	err   error
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("not done within --timeout %v (%v)", e.limit, e.err)
}

func (e *timeoutError) Unwrap() error { return errTimeout }

// message is an error in JSON.
type message struct {
	Type   string `json:"message_type"`
	Code   int    `json:"exit_code"`
	Text   string `json:"message"`
	Thing  string `json:"thing,omitempty"`
	Reason string `json:"reason,omitempty"`
	Way    string `json:"way_out,omitempty"`
}

func errorMessage(err error) message {
	m := message{Type: "error", Code: exitCode(err), Text: oneLine(err)}
	var refusal *dispatch.Refusal
	if errors.As(err, &refusal) {
		m.Thing, m.Reason, m.Way = refusal.Thing, refusal.Reason, refusal.Way
	}
	return m
}

// fail prints an error: one line on stderr, and an object on stdout if nothing
// else is there to be parsed.
func (a *app) fail(err error, asJSON bool) {
	a.term.message("dmcopy: " + oneLine(err))
	if asJSON && !a.answered.Swap(true) {
		_ = json.NewEncoder(a.out).Encode(errorMessage(err)) // there is nobody left to tell
	}
}

// oneLine prints joined errors on one line.
func oneLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.Join(lines, "; ")
}

// print writes the JSON object of a command.
func (a *app) print(v any) error {
	a.answered.Store(true)
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// setUpLog makes the only logrus logger of the program.
func (a *app) setUpLog(*cobra.Command, []string) error {
	level, err := logrus.ParseLevel(a.logLevel.value)
	if err != nil {
		return err
	}
	sink := logrus.New()
	sink.SetOutput(a.term)
	sink.SetLevel(level)
	if a.logFormat.value == "json" {
		sink.SetFormatter(&logrus.JSONFormatter{})
	}
	a.log = slog.New(logrusslog.NewHandler(sink, nil))
	return nil
}
