package main

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// watchedOutput is stdout or stderr. It tells when nobody reads it any more.
type watchedOutput struct {
	w    io.Writer
	gone func()
	// failed is the first error.
	failed error
}

// Write implements [io.Writer].
func (o *watchedOutput) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if o.failed == nil {
		o.failed = err
	}
	if errors.Is(err, unix.EPIPE) {
		o.gone()
	}
	return n, err
}

// filter lets nothing through that a terminal would obey.
type filter struct {
	w io.Writer
	// begun is the beginning of a character.
	begun []byte
}

// Write implements [io.Writer].
func (f *filter) Write(p []byte) (int, error) {
	all := p
	if len(f.begun) > 0 {
		all = append(f.begun, p...)
	}
	text, rest := printable(all)
	f.begun = append([]byte(nil), rest...)
	if _, err := f.w.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}
