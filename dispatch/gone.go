package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// ErrGone: a disk that the copy needs is gone.
var ErrGone = errors.New("the disk is gone: it was unplugged, or its driver has given it up")

// miss notes the disks among what has changed that are gone.
func (r *run) miss(changed []remap.Change) {
	for _, c := range changed {
		if n := r.plan.layout.Node(c.Dev); c.Gone && n != nil && n.Leaf != nil {
			r.missing[c.Dev] = n.DisplayName()
		}
	}
}

// missed is the error of a copy that lacks disks; nil if none is gone.
func (r *run) missed() error {
	if len(r.missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.Join(slices.Sorted(maps.Values(r.missing)), ", "), ErrGone)
}

// lacking adds to the error that a copy has ended with which disks are gone.
func (r *run) lacking(err error) error {
	if err == nil || errors.Is(err, ErrGone) {
		return err
	}
	return errors.Join(err, r.missed())
}

// onlyGone tells whether nothing has happened to what was written through but that the
// disks at the bottom are gone, with what lies on them: nothing was written
// elsewhere then.
func (r *run) onlyGone(moved []remap.Change, written map[remap.Dev]bool) bool {
	gone := false
	for _, c := range moved {
		if written[c.Dev] && !c.Gone {
			return false
		}
		_, isDisk := r.missing[c.Dev]
		gone = gone || isDisk && written[c.Dev]
	}
	return gone
}
