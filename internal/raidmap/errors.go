package raidmap

import (
	"errors"
	"fmt"
)

// What can be wrong with an array. They arrive wrapped in an [Error].
var (
	// ErrGeometry: parameters that md itself refuses.
	ErrGeometry = errors.New("impossible geometry")
	// ErrLayout: a layout number that md does not know.
	ErrLayout = errors.New("unknown layout")
	// ErrAmbiguous: parameters that md accepts, but that do not tell where the
	// data is, or in a way that is known to be wrong.
	ErrAmbiguous = errors.New("ambiguous layout")
	// ErrMember: the members do not fit the geometry.
	ErrMember = errors.New("impossible member")
)

// Error tells of which level an error is.
type Error struct {
	Level string
	Err   error
}

func (e *Error) Error() string { return e.Level + ": " + e.Err.Error() }

// Unwrap gives access to the sentinel.
func (e *Error) Unwrap() error { return e.Err }

func fail(level string, sentinel error, format string, args ...any) error {
	return &Error{level, fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))}
}
