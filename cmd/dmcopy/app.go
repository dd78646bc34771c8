package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
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
	// watchedOutput is what out leads to.
	outlet *watchedOutput
	// term is stderr: messages, logs and the progress share it.
	term *terminal
	log  *slog.Logger
	// args is the command line, without the program's name.
	args []string
	// resumed: they are those of an earlier run.
	resumed bool
	// rate replaces that of an earlier run, if it is not nil.
	rate *rateFlags

	logLevel  choice[string]
	logFormat choice[string]
	json      bool
	lifetime
	// answered is set once the JSON object of the command is on stdout.
	answered atomic.Bool
}

// run runs the program and returns its exit code.
func run(args []string, s streams) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a := newApp(args, s)
	defer a.onSignals(cancel, wantsJSON(args))()
	a.term.asObjects(wantsObjects(args))
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && a.outlet.failed != nil { // cobra does not tell
		err = fmt.Errorf("dmcopy could not write its output: %w", a.outlet.failed)
	}
	err = a.cutShort(starved(err, a.begun.Load()))
	if err != nil {
		a.fail(err, wantsJSON(args))
	}
	return exitCode(err)
}

func newApp(args []string, s streams) *app {
	a := &app{in: s.in, args: args, log: slog.New(slog.DiscardHandler)}
	a.giveUp, a.unread = make(chan struct{}), make(chan struct{})
	gone := sync.OnceFunc(func() { close(a.unread) })
	a.outlet = &watchedOutput{w: s.out, gone: gone}
	a.out, a.term = &filter{w: a.outlet}, newTerminal(s.err)
	a.term.w = &watchedOutput{w: a.term.w, gone: gone}
	return a
}

// wantsJSON looks for --json by hand: the error to print can be that the
// flags were not understood.
func wantsJSON(args []string) bool { return hasFlag(args, "--json") || hasFlag(args, "--json=true") }

// wantsObjects looks for what has all of stderr be JSON, for the same reason.
func wantsObjects(args []string) bool {
	for _, flag := range []string{"--progress", "--log-format"} {
		if hasFlag(args, flag+"=json") || hasFlag(args, flag, "json") {
			return true
		}
	}
	return false
}

// hasFlag tells whether words follow one another before those that are no flags.
func hasFlag(args []string, words ...string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	for i := range args {
		if len(args)-i >= len(words) && slices.Equal(args[i:i+len(words)], words) {
			return true
		}
	}
	return false
}

// errTimeout: the time given with --timeout is over.
var errTimeout = errors.New("the time of --timeout has passed")

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
	return fmt.Sprintf("dmcopy was not done within --timeout %v (%v)", e.limit, e.err)
}

func (e *timeoutError) Unwrap() error { return errTimeout }

// message is an error in JSON.
type message struct {
	Schema int    `json:"schema"`
	Type   string `json:"message_type"`
	Code   int    `json:"exit_code"`
	Text   string `json:"message"`
	Thing  string `json:"thing,omitempty"`
	Reason string `json:"reason,omitempty"`
	Way    string `json:"way_out,omitempty"`
}

func errorMessage(err error) message {
	m := message{Schema: account.Schema, Type: "error", Code: exitCode(err), Text: oneLine(err)}
	var refusal *failure.Refusal
	if errors.As(err, &refusal) {
		m.Thing, m.Reason, m.Way = refusal.Thing, refusal.Reason, refusal.Way
	}
	return m
}

// fail prints an error: one line on stderr, and an object on stdout if nothing
// else is there to be parsed.
func (a *app) fail(err error, asJSON bool) {
	if a.quiet(err) {
		return
	}
	a.leaveEnds(err, asJSON)
	a.term.fail(errorMessage(err))
	if asJSON && !a.answered.Swap(true) {
		_ = json.NewEncoder(a.out).Encode(errorMessage(err)) // there is nobody left to tell
	}
}

// leaveEnds has nothing more written to stdout or stderr where that is an end of the copy.
func (a *app) leaveEnds(err error, asJSON bool) {
	if errors.Is(err, ends.ErrStdout) {
		a.out = io.Discard
	}
	switch {
	case errors.Is(err, ends.ErrStderr) && asJSON:
		a.term = newTerminal(io.Discard)
	case errors.Is(err, ends.ErrStderr):
		a.term = newTerminal(a.out)
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

// note tells something that is no error.
func (a *app) note(format string, args ...any) { a.term.say(kindNote, fmt.Sprintf(format, args...)) }

// setUpLog begins to log, and to write objects to stderr if it is a program that reads
// them.
func (a *app) setUpLog(flags *pflag.FlagSet) error {
	level, err := logrus.ParseLevel(a.logLevel.value)
	if err != nil {
		return err
	}
	objects := a.logFormat.value == "json"
	if progress := flags.Lookup("progress"); progress != nil {
		objects = objects || progress.Value.String() == progressJSON
	}
	a.term.asObjects(objects)
	a.log = newLog(a.term, level, objects)
	return nil
}
