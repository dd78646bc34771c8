package failure

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// How a copy can end other than well. Each has an exit code of its own.
var (
	// ErrRefused: the copy was not begun; nothing was written. It arrives as
	// a [Refusal].
	ErrRefused = errors.New("refused")
	// ErrUsage: the request makes no sense.
	ErrUsage = errors.New("usage")
	// ErrPolicy: --offload=require or --hold cannot be met.
	ErrPolicy = errors.New("policy cannot be met")
	// ErrLayout: the layout kept changing; nothing wrong was written.
	ErrLayout = errors.New("the layout kept changing")
	// ErrMismatch: verification found a difference.
	ErrMismatch = errors.New("verification found a difference")
	// ErrFenced: a command never came back. Its destination must not be
	// touched until the device has been reset.
	ErrFenced = errors.New("a command of unknown fate may still be running")
	// ErrUnread: everything is copied but for parts that could not be read.
	ErrUnread = errors.New("parts of the source could not be read")
	// ErrSourceChanged: somebody wrote to the source while it was copied, so that the
	// copy can be one of no moment.
	ErrSourceChanged = errors.New("the source changed while it was copied")
	// ErrTaken: somebody began to use the destination while it was written. What they see,
	// and what they write, is not what was copied.
	ErrTaken = errors.New("somebody began to use the destination while it was written")
	// ErrPunched: somebody punched a hole into what was written of the destination, a regular file.
	ErrPunched = errors.New("what was written is a hole now")
	// ErrInterrupted: the caller ended the copy.
	ErrInterrupted = errors.New("interrupted")
	// ErrThawed: the file system of the source did not stand still until the end of
	// the copy, which is a copy of no moment.
	ErrThawed = errors.New("the file system of the source was not frozen all the time, and what was copied is not consistent")
)

// Refusal says what is refused, why, and what to do about it.
type Refusal struct {
	Thing  string // "/dev/vg/home"
	Reason string // "is mounted on /home"
	Way    string // "unmount it first", may be empty
	// Kind is ErrRefused, ErrUsage or ErrPolicy.
	Kind error
}

func (r *Refusal) Error() string {
	// A name that has several lines is no reason to print more than one.
	text := Quote(r.Thing) + " " + r.Reason
	if r.Way != "" {
		text += ": " + onOneLine(r.Way)
	}
	return text
}

// Unwrap gives access to the sentinel.
func (r *Refusal) Unwrap() error { return r.Kind }

// Refuse is a refusal, whose reason is put together as by [fmt.Sprintf].
func Refuse(thing, reason, way string, args ...any) error {
	return newRefusal(ErrRefused, thing, reason, way, args)
}

// Misuse is a refusal of what makes no sense.
func Misuse(thing, reason, way string, args ...any) error {
	return newRefusal(ErrUsage, thing, reason, way, args)
}

// Unmet is a refusal because of what was asked for.
func Unmet(thing, reason, way string, args ...any) error {
	return newRefusal(ErrPolicy, thing, reason, way, args)
}

// newRefusal puts a sentence together, in which names stay on its line.
func newRefusal(kind error, thing, reason, way string, args []any) *Refusal {
	args = slices.Clone(args)
	for i, arg := range args {
		if name, ok := arg.(string); ok {
			args[i] = onOneLine(name)
		}
	}
	return &Refusal{Thing: thing, Reason: fmt.Sprintf(reason, args...), Way: way, Kind: kind}
}

// Error says at which step of a copy something went wrong.
type Error struct {
	Op  string // "plan", "hold", "offload", "copy", "flush", "verify"
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives access to what is behind.
func (e *Error) Unwrap() error { return e.Err }

// During adds the step. A refusal says all that there is to say by itself.
func During(op string, err error) error {
	if _, refused := err.(*Refusal); refused || err == nil {
		return err
	}
	return &Error{Op: op, Err: err}
}

// Ended makes an interruption of an error that is one: what was called while
// the context ended says so in its own words.
func Ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ErrInterrupted) || errors.Is(err, ErrThawed) {
		return err
	}
	cause := context.Cause(ctx)
	switch {
	case !errors.Is(err, ctx.Err()) && !errors.Is(err, cause):
		return err
	case errors.Is(cause, ErrThawed):
		return fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("%w: %w", ErrInterrupted, err)
}

// Interrupted is the end of a copy whose context has ended. If that is because the
// source does not stand still any more, nobody has interrupted anything.
func Interrupted(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrThawed) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrInterrupted, cause)
}

// Errno is the number in an error, without the path that it is about.
func Errno(err error) error {
	var number unix.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// TooLate is a refusal of what was begun already: no [ErrRefused] any more, nor an [ErrUsage],
// of which nothing is written. An [ErrPolicy] stays one, and says that the copy was begun.
// Other errors are what they are.
func TooLate(err error) error {
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrUsage):
		return &tooLate{err}
	case errors.Is(err, ErrPolicy):
		return fmt.Errorf("%s%w", begun, err)
	}
	return err
}

const begun = "after the copy was begun: "

// tooLate hides what it is made of from errors.Is.
type tooLate struct{ refusal error }

func (e *tooLate) Error() string { return begun + e.refusal.Error() }
