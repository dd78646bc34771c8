package emulation

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// BlockError is an errno that a block device has failed with, in words: those of
// errno(3) are about something else. It unwraps to the errno.
type BlockError unix.Errno

// blockWords say what the block layer means by an errno (block/blk-core.c,
// blk_errors). EIO, ENOSPC and ENOMEM mean there what they mean elsewhere.
var blockWords = map[BlockError]string{
	BlockError(unix.ENODATA):      "bad sector (medium error)",
	BlockError(unix.EILSEQ):       "the protection information of the sector does not fit",
	BlockError(unix.EREMOTEIO):    "the disk has failed to do it",
	BlockError(unix.ENOLINK):      "the connection to the disk has failed",
	BlockError(unix.ETIMEDOUT):    "the disk did not answer in time",
	BlockError(unix.ETIME):        "the disk gave up after the time that it is allowed",
	BlockError(unix.EBADE):        "somebody else has reserved the disk",
	BlockError(unix.ENODEV):       "the disk is offline, or gone",
	BlockError(unix.EOPNOTSUPP):   "the disk cannot do it",
	BlockError(unix.ETOOMANYREFS): "more zones are open than the disk allows",
	BlockError(unix.EOVERFLOW):    "more zones are active than the disk allows",
}

func (e BlockError) Error() string {
	return fmt.Sprintf("%s, %s", blockWords[e], unix.ErrnoName(unix.Errno(e)))
}

// Unwrap gives access to the errno.
func (e BlockError) Unwrap() error { return unix.Errno(e) }

// inWords is for an error of a device.
func inWords(d Device, err error) error {
	var errno unix.Errno
	if !strings.HasPrefix(d.ID(), "block:") || !errors.As(err, &errno) || blockWords[BlockError(errno)] == "" {
		return err
	}
	return BlockError(errno)
}
