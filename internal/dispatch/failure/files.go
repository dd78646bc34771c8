package failure

import (
	"errors"

	"golang.org/x/sys/unix"
)

// WayOfTooManyFiles is the way out where too many files are open.
const WayOfTooManyFiles = "raise the limit (ulimit -n), or close some of them"

// TooManyFiles tells whether an error is that no more files can be opened, by this process or by all.
func TooManyFiles(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

// RefuseTooManyFiles is the refusal for such an error.
func RefuseTooManyFiles(thing string, err error) error {
	return Refuse(thing, "cannot open what it needs: %v", WayOfTooManyFiles, Errno(err))
}
