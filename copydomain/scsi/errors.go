package scsi

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// ErrNotSCSI: a name that is not a SCSI disk. It arrives wrapped in a [blocks.Error], as what can be wrong besides.
var ErrNotSCSI = errors.New("not a SCSI disk")

func opError(op, dev string, err error) error { return blocks.Wrap("scsi", op, dev, err) }

// short is the error of a parser that needs want bytes.
func short(op string, got, want int) error {
	return opError(op, "", fmt.Errorf("%w: %d of %d bytes", blocks.ErrShort, got, want))
}
