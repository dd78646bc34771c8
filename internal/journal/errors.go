package journal

import (
	"errors"
	"strings"
)

// What can be wrong with a state file. They arrive wrapped in an [Error].
var (
	// ErrFormat: this is no state file.
	ErrFormat = errors.New("not a state file of dmcopy")
	// ErrEmpty: nothing was written to the file yet.
	ErrEmpty = errors.New("nothing was begun yet")
	// ErrVersion: the file was written by another version.
	ErrVersion = errors.New("state file of a version that is not known here")
	// ErrDamaged: the file was changed, or its end is missing.
	ErrDamaged = errors.New("state file is damaged or cut off")
	// ErrBusy: the copy that the file belongs to still goes on.
	ErrBusy = errors.New("in use by a copy that goes on")
	// ErrUnsafe: somebody else could have put the file there, or change it.
	ErrUnsafe = errors.New("not to be trusted")
	// ErrAppendOnly: no file of the directory can be replaced.
	ErrAppendOnly = errors.New("in an append-only directory, where no file can be replaced")
	// ErrReplaced: another file has got the name. It is left as it is.
	ErrReplaced = errors.New("replaced by another file while the copy went on")
	// ErrTooLarge: the map has more parts than a file may have.
	ErrTooLarge = errors.New("too many separate parts for a state file")
	// ErrDiffers: the file belongs to another copy. It arrives as a [Difference].
	ErrDiffers = errors.New("state of another copy")
)

// Error tells which file an error is about. It unwraps to a sentinel or an errno.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap gives access to what is behind.
func (e *Error) Unwrap() error { return e.Err }

// Difference says what is not as it was when the state was begun.
type Difference struct {
	// Points are for people: "the source was … and is now …".
	Points []string
}

func (d *Difference) Error() string { return strings.Join(d.Points, "; ") }

// Unwrap gives access to the sentinel.
func (d *Difference) Unwrap() error { return ErrDiffers }
