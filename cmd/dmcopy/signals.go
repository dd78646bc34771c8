package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// leaveAfter is how long the program may take to say what it leaves behind, and to
// give back what is not a copy's.
const leaveAfter = 5 * time.Second

// lifetime is for how long a run of the program lasts.
type lifetime struct {
	// draining is set while something is in flight that has to come back, or
	// has to be reported, before the program may end.
	draining atomic.Bool
	// holding counts what has to be given back before it may.
	holding atomic.Int32
	// giveUp is closed when nothing is waited for any longer.
	giveUp chan struct{}
	// unread is closed when there is nobody left who reads our output.
	unread chan struct{}
	// copying is set for a command that writes to a destination.
	copying atomic.Bool
	// begun is set once a destination may have been written to.
	begun atomic.Bool
}

// onSignals makes SIGINT, SIGTERM, SIGHUP, and the end of whoever reads our output,
// end the program: at once where nothing is in flight and nothing is to be given back,
// else the first one cancels the command. Of SIGINT and SIGTERM the second one ends it
// without what does not come back. A terminal that goes away sends more than one SIGHUP.
func (a *app) onSignals(cancel context.CancelCauseFunc, asJSON bool) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	hangups := make(chan os.Signal, 1)
	if !signal.Ignored(unix.SIGHUP) { // as by nohup(1)
		signal.Notify(hangups, unix.SIGHUP)
	}
	// SIGUSR1 asks for progress; where there is none yet, it must not kill. Nor must
	// SIGPIPE: the call that meets the pipe fails, and it can be one to a helper.
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1, unix.SIGPIPE)
	done := make(chan struct{})
	g := &exitGuard{a: a, cancel: cancel, asJSON: asJSON}
	go func() {
		unread := a.unread
		for {
			select {
			case <-done:
				return
			case received := <-signals:
				g.onSignal(received, true)
			case received := <-hangups:
				g.onSignal(received, false)
			case <-unread:
				unread = nil // once is enough
				g.onSignal(unix.SIGPIPE, false)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		signal.Stop(hangups)
		close(done)
	}
}

// exitGuard ends the program on signals.
type exitGuard struct {
	a      *app
	cancel context.CancelCauseFunc
	asJSON bool
	// first tells that there was a signal before, count how many of them insist.
	first bool
	count int
}

// onSignal acts on a signal. One that insists ends the program if it comes again.
func (g *exitGuard) onSignal(received os.Signal, insists bool) {
	if insists {
		g.count++
	}
	draining, holding := g.a.draining.Load(), g.a.holding.Load() > 0
	switch {
	case !draining && !holding, g.count > 2, g.count > 1 && !draining:
		g.leave(received)
	case !g.first && draining:
		g.a.note("dmcopy stops when everything in flight has come back; interrupt again to stop at once")
		g.cancel(&signalError{received})
	case !g.first:
		g.cancel(&signalError{received})
		time.AfterFunc(leaveAfter, func() {
			if !g.a.draining.Load() {
				g.leave(received)
			}
		})
	case g.count == 2:
		close(g.a.giveUp)
		time.AfterFunc(leaveAfter, func() { g.leave(received) })
	}
	g.first = true
}

func (g *exitGuard) leave(received os.Signal) {
	g.a.term.setStatus("")
	g.a.fail(interrupted(&signalError{received}), g.asJSON)
	quit(exitCode(failure.ErrInterrupted))
}

// hold says that there is something to be given back, and returns what says that it was.
func (a *app) hold() (release func()) {
	a.holding.Add(1)
	return sync.OnceFunc(func() { a.holding.Add(-1) })
}

// interrupted is the end of a command whose context has ended for a reason.
func interrupted(cause error) error { return fmt.Errorf("%w: %w", failure.ErrInterrupted, cause) }

// errUnreported: what a copy has done was not told.
var errUnreported = errors.New("the report could not be written")

// cutShort makes an interruption of the failure to print to somebody who does not read
// any more.
func (a *app) cutShort(err error) error {
	if a.isUnread() && errors.Is(err, unix.EPIPE) && !errors.Is(err, errUnreported) && exitCode(err) == exitFailed {
		return interrupted(err)
	}
	return err
}

func (a *app) isUnread() bool {
	select {
	case <-a.unread:
		return true
	default:
		return false
	}
}

// quiet tells whether an error is none to speak of: who has read enough of a list closes
// the pipe. How a copy ends is always told.
func (a *app) quiet(err error) bool {
	return a.isUnread() && !a.copying.Load() && errors.Is(err, failure.ErrInterrupted)
}

// quit ends the program. Threads that the kernel keeps stay, and with them what is
// open: whoever reads our output should see the end of it nevertheless.
func quit(code int) {
	_, _ = os.Stdout.Close(), os.Stderr.Close() // nobody can be told
	os.Exit(code)
}

// signalError is why a run was canceled. It is a failure.ErrInterrupted.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return "by signal (" + e.signal.String() + ")" }

func (e *signalError) Unwrap() error { return failure.ErrInterrupted }
