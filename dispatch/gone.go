package dispatch

import (
	"context"
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
func (r *run) lacking(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrGone) {
		return err
	}
	if r.plan != nil {
		changed, _ := r.plan.changes(context.WithoutCancel(ctx)) // what cannot be told is not
		r.miss(changed)
	}
	return errors.Join(err, r.missed())
}

// lost tells whether disks below the destination are gone, and nothing else has happened
// to it since the plan was made.
func (r *run) lost(ctx context.Context) bool {
	changed, err := r.plan.changes(ctx)
	r.miss(changed)
	if err != nil {
		return false
	}
	return r.onlyGone(remap.Moved(changed), below(r.plan.layout, r.job.Dst.Dev))
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

// onLost tells whether a part of what was done lay on a disk that is gone: nothing is
// left to be shown of it, and nowhere to copy it to again.
func (r *run) onLost(was *plan, suspects []suspect) bool {
	for _, s := range suspects {
		for _, g := range s.moved {
			first, end := g.Dst/remap.SectorSize, (g.Dst+g.Len+remap.SectorSize-1)/remap.SectorSize
			c, err := was.layout.Cursor(remap.Write, remap.Range{Dev: r.job.Dst.Dev, Start: remap.Sector(first), Len: remap.Sector(end - first)})
			if err != nil {
				continue
			}
			for c.Next() {
				e := c.Extent()
				if _, gone := r.missing[e.Leg.Dev]; gone && (e.Kind == remap.Data || e.Kind == remap.Cipher) {
					return true
				}
			}
		}
	}
	return false
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
