package copydomain

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// Withdrawn is the error of [Finder.Copier] for a pair that has no method any more, as
// when a disk has turned up since that has the name of one of its ends.
type Withdrawn struct {
	Reason remap.Reason
	Detail string
}

func (w *Withdrawn) Error() string { return fmt.Sprintf("copydomain: %s: %s", w.Reason, w.Detail) }
