package nvme

import (
	"errors"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// What can be wrong beside what [blocks] knows. It arrives wrapped in a [blocks.Error].
var (
	// ErrNotNVMe: a name that is not an NVMe namespace.
	ErrNotNVMe = errors.New("not an NVMe namespace")
	// ErrInactive: a namespace ID without a namespace.
	ErrInactive = errors.New("namespace is not active")
	// ErrZone is behind pieces that the zones of a namespace do not take or have.
	ErrZone = errors.New("not in the zone")
)

func opError(op, dev string, err error) error { return blocks.Wrap("nvme", op, dev, err) }
