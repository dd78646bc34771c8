package raidmap

import (
	"errors"
	"fmt"
)

// What can be wrong with an array. They arrive wrapped, with the level before them.
var (
	// ErrGeometry: parameters that md itself refuses.
	ErrGeometry = errors.New("impossible geometry")
	// ErrLayout: a layout number that md does not know.
	ErrLayout = errors.New("unknown layout")
	// ErrAmbiguous: parameters that md accepts, but that do not tell where the
	// data is, or in a way that is known to be wrong.
	ErrAmbiguous = errors.New("ambiguous layout")
	// errMember: the members do not fit the geometry.
	errMember = errors.New("impossible member")
)

func fail(level string, sentinel error, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", level, sentinel, fmt.Sprintf(format, args...))
}
