package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/journal"
	"github.com/dmcopy/dmcopy/remap"
)

// A table can be swapped for one that maps the destination to another place, where
// nothing of what was copied is. What is done is done only as far as it can be shown:
// whenever the layout of the destination is another one, what is done and does not lie
// where it lay is compared with the source. pvmove, which takes the data along, costs no
// more than that. If anything is different, all of it is copied again.

// maxLosses is how often a destination may lose what was copied to it.
const maxLosses = 8

// errThawedMove: the source moves again, and nothing tells any more what was copied of it.
var errThawedMove = fmt.Errorf("%w: the destination was moved after the source was thawed", ErrLayout)

// suspect is an entry of which a part is to be shown anew.
type suspect struct {
	number  int     // of the entry
	moved   []Range // does not lie where it lay
	whole   []Range // of that, what has to be compared as a whole
	doubted []Range // may have been written elsewhere, and lies where it lay
}

func (s *suspect) ranges() []Range { return slices.Concat(s.moved, s.doubted) }

// review compares what is done with the source, as far as it does not lie where it lay
// when was was planned with, or may have been written elsewhere. It returns what is to
// be copied again, and what was moved. If disks below the destination are lost, it is not
// copied again. No hold is on.
func (r *run) review(ctx context.Context, was *plan, lost bool) (again, moved []Range, err error) {
	suspects := r.suspects(was)
	if len(suspects) == 0 {
		return nil, nil, nil
	}
	if lost && r.onLost(was, suspects) {
		return nil, nil, wrap("copy", r.missed())
	}
	var all []Range
	for _, s := range suspects {
		moved, all = append(moved, s.moved...), append(all, s.ranges()...)
	}
	claims, err := r.withdraw(all)
	if err != nil {
		return nil, nil, err
	}
	r.stats.moved += length(moved)
	if r.opts.Freeze != nil && r.frozen == nil {
		return nil, nil, wrap("verify", errThawedMove)
	}
	if len(moved) > 0 {
		if err := r.dropCaches(ctx); err != nil {
			return nil, nil, wrap("flush", err)
		}
	}
	there, err := r.shown(ctx, sampled(suspects))
	if err != nil {
		return nil, nil, err
	}
	if there {
		for _, e := range claims {
			r.ledger.unsaved.Put(e)
		}
		return nil, moved, nil
	}
	if lost {
		return nil, nil, wrap("copy", r.missed())
	}
	again, err = r.lose(suspects)
	return again, moved, err
}

// suspects lists the entries that have moved, and what of them.
func (r *run) suspects(was *plan) []suspect {
	doubt := r.doubt
	r.doubt = nil
	find := func(Range) (moved, whole []Range) { return nil, nil }
	if was.layout != nil && r.plan.layout != nil && was.layout.Node(r.job.Dst.Dev) != nil {
		look := remap.NewPlaces(was.layout, r.plan.layout, sameDisk)
		find = func(g Range) (moved, whole []Range) { return displaced(look, r.job.Dst.Dev, g) }
	}
	var list []suspect
	for i, s := range r.done.entries {
		found := suspect{number: i}
		for _, g := range s.ranges {
			moved, whole := find(g)
			doubted, _ := divide(apart(g, moved), extents(doubt))
			found.moved, found.doubted = append(found.moved, moved...), append(found.doubted, doubted...)
			found.whole = append(found.whole, whole...)
		}
		if len(found.moved)+len(found.doubted) > 0 {
			list = append(list, found)
		}
	}
	return list
}

// apart is what is left of a range without its parts.
func apart(g Range, parts []Range) []Range {
	_, rest := divide([]Range{g}, extents(parts))
	return rest
}

// displaced lists the parts of a range that do not lie where they lay.
func displaced(look *remap.Places, dst remap.Dev, g Range) (moved, whole []Range) {
	first := g.Dst / remap.SectorSize
	last := (g.Dst + g.Len + remap.SectorSize - 1) / remap.SectorSize
	for _, d := range look.Displaced(remap.Range{Dev: dst, Start: remap.Sector(first), Len: remap.Sector(last - first)}) {
		part := g.part(max(d.Start.Bytes()-g.Dst, 0), min((d.Start+d.Len).Bytes()-g.Dst, g.Len))
		moved = appendRange(moved, part)
		if d.Relayered {
			whole = appendRange(whole, part)
		}
	}
	return moved, whole
}

// sampled picks what to compare: all of it, or the beginning, the end and more of each
// entry; and all that another kind of layer keeps.
func sampled(suspects []suspect) []Range {
	var total int64
	for _, s := range suspects {
		total += length(s.ranges())
	}
	var picked []Range
	for _, s := range suspects {
		some := s.ranges()
		if total > recheckPlaces*recheckBytes {
			share := float64(recheckPlaces) * float64(length(some)) / float64(total)
			some = stretches(some, max(int(share), 2), recheckBytes)
		}
		_, rest := divide(some, extents(s.whole))
		picked = slices.Concat(picked, s.whole, rest)
	}
	return picked
}

// shown tells whether the destination holds in these places what the source holds. What
// cannot be read does not show it.
func (r *run) shown(ctx context.Context, places []Range) (bool, error) {
	found, err := r.engine.Compare(ctx, r.job.Src.Device, r.job.Dst.Device, copies(r.readable(places)), emulation.Observer{})
	if ctx.Err() != nil {
		return false, interrupted(ctx)
	}
	if err != nil {
		r.log.Info("what was moved cannot be compared", "error", err)
	}
	return err == nil && len(found.Failures)+len(found.Mismatches) == 0, nil
}

// lose forgets that the suspects are done, and returns what they have copied.
func (r *run) lose(suspects []suspect) ([]Range, error) {
	if r.losses++; r.losses > maxLosses {
		return nil, wrap("verify", fmt.Errorf("%w: the destination was moved %d times without what had been copied to it", ErrLayout, r.losses))
	}
	if r.zones.zoner != nil {
		return nil, wrap("zones", fmt.Errorf("%w: the destination was moved", ErrZone))
	}
	var again []Range
	for _, s := range slices.Backward(suspects) {
		lost := r.done.entries[s.number]
		r.done.entries = slices.Delete(r.done.entries, s.number, s.number+1)
		r.uncount(lost)
		r.resumed -= lost.reasons[ReasonResumed]
		again = append(again, lost.ranges...)
	}
	if _, err := r.withdraw(again); err != nil {
		return nil, err
	}
	r.forgetBad(again)
	r.stats.recopied += length(again)
	r.log.Warn("the destination was moved without what had been copied to it: copying it again", "bytes", length(again))
	return again, nil
}

// forgetBad forgets what could not be read of the ranges: it is tried again.
func (r *run) forgetBad(ranges []Range) {
	var left []Bad
	for _, b := range r.bad {
		for _, g := range apart(Range{b.Src, b.Dst, b.Len}, ranges) {
			left = append(left, Bad{g.Src, g.Dst, g.Len, b.Why})
		}
	}
	r.bad, r.ledger.bad = left, 0
}

// withdraw takes back what was said to be done of the ranges, and returns it. What is
// recorded is taken back durably, before anything is built on its being unknown.
func (r *run) withdraw(ranges []Range) ([]journal.Extent, error) {
	if r.opts.Journal == nil {
		return nil, nil
	}
	recorded := claimed(r.opts.Journal.Extents(), ranges)
	claims := append(recorded, claimed(r.ledger.unsaved.Extents(), ranges)...)
	for _, g := range ranges {
		r.ledger.unsaved.Put(journal.Extent{Off: g.Dst, Len: g.Len, Status: journal.Pending})
	}
	if len(recorded) == 0 {
		return claims, nil
	}
	var taken []journal.Extent
	for _, e := range recorded {
		e.Status, e.Method = journal.Pending, ""
		taken = append(taken, e)
	}
	defer r.vigil.begin("writing", "the state", noPlace)()
	return claims, wrap("state", r.opts.Journal.Record(taken))
}

// claimed lists what of the extents, which are in order, lies in the ranges.
func claimed(extents []journal.Extent, ranges []Range) (list []journal.Extent) {
	for _, g := range ranges {
		first := sort.Search(len(extents), func(i int) bool { return extents[i].Off+extents[i].Len > g.Dst })
		for _, e := range extents[first:] {
			if e.Off >= g.Dst+g.Len {
				break
			}
			end := min(e.Off+e.Len, g.Dst+g.Len)
			e.Off = max(e.Off, g.Dst)
			e.Len = end - e.Off
			list = append(list, e)
		}
	}
	return list
}

// stands tells whether the layout is still the one of the plan. If it is not, or was not
// for a moment, as far as something was heard, what went through the host in the window
// can have gone elsewhere.
func (r *run) stands(ctx context.Context) (bool, error) {
	heard := r.hasNews()
	changed, err := r.plan.changes(ctx)
	if err != nil {
		return false, wrap("plan", err)
	}
	moved := remap.Moved(changed)
	if (heard || r.plan.ofDestination(moved)) && len(r.window.byHost) > 0 {
		r.doubt = append(r.doubt, r.window.byHost...)
		return false, nil
	}
	return len(moved) == 0, nil
}

// ofDestination tells whether one of the changes is of the destination.
func (p *plan) ofDestination(changes []remap.Change) bool {
	return slices.ContainsFunc(changes, func(c remap.Change) bool {
		return slices.ContainsFunc(p.layout.Under(p.dst.Dev), func(n *remap.Node) bool { return n.Dev == c.Dev })
	})
}

// lookAgain looks whether the destination lies where it lay, at the end of the copy. It
// returns what is to be copied again, and whether anything was moved.
func (r *run) lookAgain(ctx context.Context) (again []Range, moved bool, err error) {
	still, err := r.stands(ctx)
	if err != nil || still {
		return nil, false, err
	}
	before := r.stats.moved
	again, err = r.replan(ctx, 1, nil)
	return again, r.stats.moved > before, err
}

// disown takes back what was said to be done and does not lie where it lay. A layout
// that cannot be read shows nothing: nothing more is recorded then.
func (r *run) disown(ctx context.Context) error {
	if r.lost(ctx) { // it cannot be looked at, and may come back
		r.ledger.unsaved = journal.Map{}
		return nil
	}
	p, err := r.d.newPlan(ctx, r.job, r.poisoned)
	if err != nil {
		r.ledger.unsaved = journal.Map{}
		r.log.Warn("what was done since the last entry is not entered: the layout cannot be read", "error", err)
		return nil
	}
	was := r.plan
	r.plan = p
	var moved []Range
	for _, s := range r.suspects(was) {
		moved = append(moved, s.ranges()...)
	}
	_, err = r.withdraw(moved)
	return err
}

// refuseMoved refuses what a destination that was moved would overwrite, as at the beginning.
func (p *plan) refuseMoved(ctx context.Context, ranges []Range) error {
	if p.stack == nil {
		return nil
	}
	shared := newOverlaps(p.stack, p.told)
	if err := p.each(ctx, ranges, shared.add); err != nil || !shared.any() {
		return err
	}
	return p.refuseOverlap(ctx, ranges, shared)
}
