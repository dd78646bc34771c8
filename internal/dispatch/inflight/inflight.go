// Package inflight lists the calls into the kernel that are in flight, and leaves behind
// those that do not come back.
package inflight

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// The kernel may keep a call for as long as it likes: of a device that is suspended,
// of one without a path, of a pool that is full. Such a thread sleeps
// uninterruptibly: it cannot be called back, nor killed. So the calls of a copy are
// counted, and when the copy is to end, those that do not come back are left behind.

const (
	// noticeAfter is how long after its end was asked for a copy tells what it still
	// waits for.
	noticeAfter = time.Second
	// giveUpAfter is how long a call may take in all when the end was asked for.
	giveUpAfter = 15 * time.Second
	// commandsAfter is how long copy commands may take from then on. Copiers bound
	// them themselves, and fence what does not come back.
	commandsAfter = 3 * time.Minute
	// silentAfter is how long a copy may take to end without any call under way.
	silentAfter = 2 * time.Minute
)

// Call is a call into the kernel.
type Call struct {
	Op    string // "write"
	On    string // "vg/home"
	Off   int64  // in bytes, or NoOffset
	Since time.Time
	// command: copy commands, as opposed to a system call of our own.
	command bool
}

// NoOffset is the offset of a call that has none.
const NoOffset = -1

func (c Call) String() string {
	text := c.Op + " of " + c.On
	if c.Off != NoOffset {
		text += fmt.Sprintf(" at byte %d", c.Off)
	}
	return text + fmt.Sprintf(", for %.0f s", time.Since(c.Since).Seconds())
}

// until is when the call is given up, if the end was asked for.
func (c Call) until(asked time.Time) time.Time {
	if c.command {
		return asked.Add(commandsAfter)
	}
	return c.Since.Add(giveUpAfter)
}

// ErrStuck: the kernel keeps a call, and does not let go of it.
var ErrStuck = errors.New("still waiting for the kernel")

// Stuck is the error of a copy that was ended without the calls that it waited for.
// They are still under way, and nothing that they use may be closed. It is an
// ErrStuck and an ErrInterrupted.
type Stuck struct {
	Calls []Call // the oldest first
	Cause error  // why the copy was to end
	// GaveUp: the caller asked not to wait any longer, whatever was in flight.
	GaveUp bool
}

func (e *Stuck) Error() string {
	if e.GaveUp && len(e.Calls) == 0 {
		return fmt.Sprintf("%v: dmcopy stopped at once, as you asked; no call into the kernel was under way", e.Cause)
	}
	return fmt.Sprintf("%v: %v: %s; until it completes, the destination stays locked, and this process may be unable to exit",
		e.Cause, ErrStuck, Waiting(e.Calls))
}

// Unwrap gives access to the sentinels.
func (e *Stuck) Unwrap() []error { return []error{ErrStuck, failure.ErrInterrupted, e.Cause} }

// Waiting says what is waited for.
func Waiting(calls []Call) string {
	if len(calls) == 0 {
		return "for what, is not known"
	}
	text := calls[0].String()
	if more := len(calls) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Calls are the calls of a copy that are in flight.
type Calls struct {
	mu    sync.Mutex
	under map[*Call]struct{}
}

func New() *Calls { return &Calls{under: make(map[*Call]struct{})} }

// Begin notes a call; the result notes its end.
func (s *Calls) Begin(op, on string, off int64) (end func()) {
	return s.note(&Call{Op: op, On: on, Off: off, Since: time.Now()})
}

// Commands notes copy commands, which their copier bounds.
func (s *Calls) Commands(on string) (end func()) {
	return s.note(&Call{Op: "copy commands", On: on, Off: NoOffset, Since: time.Now(), command: true})
}

func (s *Calls) note(c *Call) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under[c] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.under, c)
	}
}

// UnderWay lists the calls, the oldest first.
func (s *Calls) UnderWay() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []Call
	for c := range s.under {
		calls = append(calls, *c)
	}
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Off, b.Off)) })
	return calls
}

// until is when what is under way is given up, if the end was asked for: as soon as
// one call has taken too long; but not before commands, for which a hold is on.
func (s *Calls) until(asked time.Time) time.Time {
	first := asked.Add(silentAfter)
	for i, c := range s.UnderWay() {
		end := c.until(asked)
		if c.command {
			return end
		}
		if i == 0 || end.Before(first) {
			first = end
		}
	}
	return first
}
