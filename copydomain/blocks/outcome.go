package blocks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Outcome is what is known about a command after it came back, or did not.
type Outcome struct {
	Action Action
	Reason string // slug such as "device:status-0x183", empty when done
	Err    error  // the answer or error behind it, nil when done

	// Done is the number of pieces of the command, from the first, that are
	// known to be copied although others are not. Of those any part may have
	// been written.
	Done int

	// Untouched: the device has not begun.
	Untouched bool
}

// ReasonExpired: what was to hold until the command had been begun holds no more.
const ReasonExpired = "hold:expired"

// Unanswered says what to make of a command that a transport gave an error for
// instead of an answer. What before says of an errno, it says of commands that the
// kernel has not handed to the device ([ErrNotIssued]).
func Unanswered(err error, before map[syscall.Errno]Action) Outcome {
	o := Outcome{Action: ActionFence, Reason: "device:no-answer", Err: err}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		o.Reason = "device:errno-" + errnoSlug(errno)
	case errors.Is(err, ErrTimeout):
		o.Reason = "device:timeout"
	}
	if !errors.Is(err, ErrNotIssued) {
		return o
	}
	if errors.Is(err, boottime.ErrPassed) {
		return Outcome{Action: ActionExpired, Reason: ReasonExpired, Err: err, Untouched: true}
	}
	o.Untouched = true
	if errno == 0 {
		o.Reason = "device:not-issued"
	}
	if action, ok := before[errno]; ok {
		o.Action = action
		return o
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Canceled(err)
	}
	o.Action = ActionEmulate
	return o
}

// Canceled is the outcome of what was not issued because the context had ended.
func Canceled(err error) Outcome {
	return Outcome{Action: ActionCanceled, Reason: "canceled", Err: err, Untouched: true}
}

// Refused is the outcome of a command that the last check before it is issued has
// refused.
func Refused(err error) Outcome {
	return Outcome{Action: ActionReresolve, Reason: "check:refused", Err: err, Untouched: true}
}

func errnoSlug(e syscall.Errno) string {
	if name := unix.ErrnoName(e); name != "" {
		return strings.ToLower(name)
	}
	return fmt.Sprint(uint(e))
}
