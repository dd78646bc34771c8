// Package boottime is about what must not be begun after a certain moment. Its
// clock is CLOCK_BOOTTIME, which runs on while the process is stopped or frozen,
// and while the machine sleeps.
package boottime

import (
	"errors"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a moment, in nanoseconds since the machine was booted.
type Instant int64

// Forever is after every moment that comes.
const Forever Instant = math.MaxInt64

// ErrPassed says that something was not begun because it was too late for it.
var ErrPassed = errors.New("too late to begin")

// Now is the moment of the call.
func Now() Instant {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return Forever // nothing that has an end is begun without a clock
	}
	return Instant(now.Nano())
}

// Add is the moment so much later, or earlier. Forever stays what it is.
func (i Instant) Add(d time.Duration) Instant {
	if i == Forever || d > 0 && i > Forever-Instant(d) {
		return Forever
	}
	return i + Instant(d)
}

// Sub is how much later i is than j.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// A Limit tells the moment after which something must not be begun. It is asked each
// time, because the moment can be moved. A nil Limit is none.
type Limit func() Instant

// Instant is the moment as it is now.
func (l Limit) Instant() Instant {
	if l == nil {
		return Forever
	}
	return l()
}

// Check returns ErrPassed if the limit has passed by a clock.
func (l Limit) Check(now Instant) error {
	if until := l.Instant(); until != Forever && now >= until {
		return ErrPassed
	}
	return nil
}
