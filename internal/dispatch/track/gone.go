package track

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// ErrDiskGone: a disk that the copy needs is gone.
var ErrDiskGone = errors.New("the disk is gone: it was unplugged, or its driver has given it up")

// NoteMissing notes the disks among what has changed that are gone.
func (l *Layout) NoteMissing(changed []remap.Change) {
	for _, c := range changed {
		if n := l.plan.Layout.Node(c.Dev); c.Gone && n != nil && n.Leaf != nil {
			l.missing[c.Dev] = n.DisplayName()
		}
	}
}

// MissingError is the error of a copy that lacks disks; nil if none is gone.
func (l *Layout) MissingError() error {
	if len(l.missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.Join(slices.Sorted(maps.Values(l.missing)), ", "), ErrDiskGone)
}

// OnlyMissing tells whether the devices that were written through have changed in nothing
// but this: the disks at the bottom are gone, with what lies on them. Nothing was
// written elsewhere then.
func (l *Layout) OnlyMissing(moved []remap.Change, written map[remap.Dev]bool) bool {
	gone := false
	for _, c := range moved {
		if written[c.Dev] && !c.Gone {
			return false
		}
		_, isDisk := l.missing[c.Dev]
		gone = gone || isDisk && written[c.Dev]
	}
	return gone
}

// DisksMissing tells whether disks below the destination are gone, and nothing else has happened
// to it since the plan was made.
func (l *Layout) DisksMissing(ctx context.Context) bool {
	changed, err := l.Changes(ctx)
	l.NoteMissing(changed)
	if err != nil {
		return false
	}
	return l.OnlyMissing(remap.Moved(changed), below(l.plan.Layout, l.request.Dst.Dev))
}

// below are a device and all devices below it.
func below(st *remap.Stack, dev remap.Dev) map[remap.Dev]bool {
	devs := make(map[remap.Dev]bool)
	if st != nil {
		for _, n := range st.Under(dev) {
			devs[n.Dev] = true
		}
	}
	return devs
}

// WasOnMissing tells whether a part of the ranges lay on a disk that is gone, by a plan that was
// followed before: nothing is left to be shown of it, and nowhere to copy it to again.
func (l *Layout) WasOnMissing(was *plan.Plan, ranges []byterange.Range) bool {
	for _, g := range ranges {
		first, end := g.Dst/remap.SectorSize, (g.Dst+g.Len+remap.SectorSize-1)/remap.SectorSize
		c, err := was.Layout.Cursor(remap.Write, remap.Range{Dev: l.request.Dst.Dev, Start: remap.Sector(first), Len: remap.Sector(end - first)})
		if err != nil {
			continue
		}
		for c.Next() {
			e := c.Extent()
			if _, gone := l.missing[e.Leg.Dev]; gone && (e.Kind == remap.Data || e.Kind == remap.Cipher) {
				return true
			}
		}
	}
	return false
}
