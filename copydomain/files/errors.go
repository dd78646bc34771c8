package files

import (
	"errors"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// What can be wrong besides what [blocks] knows. What is about one file arrives wrapped in a [blocks.Error].
var (
	// ErrNotRegular: no regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrChanged: a path leads to another file than the one that is meant.
	ErrChanged = errors.New("the path leads to another file")
	// ErrSize: a move that does not lie within its files any more.
	ErrSize = errors.New("beyond the end of the file")
	// ErrNoProgress: a call reports success and has copied nothing.
	ErrNoProgress = errors.New("nothing was copied")
	// ErrCount: a call reports more bytes than it was asked for.
	ErrCount = errors.New("impossible number of bytes")
)

func opError(op, path string, err error) error { return blocks.Wrap("files", op, path, err) }
