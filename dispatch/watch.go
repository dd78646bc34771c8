package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// While the commands of a window are under way, the layout is compared as soon as
// something was heard of it, and not only when the last of them is back. If it is
// not the planned one, no further command is begun: somebody may be waiting for
// the hold to end, and what is read from where the source was is of no use. What
// was not begun stays to be copied, and is planned anew.
//
// That is all that an event does. The window is compared before its first command
// and after its last one, whatever was heard.

// Watch tells when something may have happened to a layout; it is a
// [watch.Watcher] outside of tests.
type Watch interface {
	// Concern says which devices count from now on.
	Concern(devs []remap.Dev)
	// Woken has a token once something may have happened to one of them.
	Woken() <-chan struct{}
	Close() error
}

// Deaf is a [Watch] that hears nothing. Copies are as safe with it.
type Deaf struct{}

// Concern implements [Watch].
func (Deaf) Concern([]remap.Dev) {}

// Woken implements [Watch].
func (Deaf) Woken() <-chan struct{} { return nil }

// Close implements [Watch].
func (Deaf) Close() error { return nil }

// lookPause lies between two looks, so that much noise costs little.
const lookPause = 50 * time.Millisecond

// errCut ends the issuing of a window whose layout is not the planned one.
var errCut = errors.New("the layout changes")

// listen begins to, if the destination is a device, which can be moved, or anything may
// be offloaded.
func (r *run) listen() {
	src, dst := r.job.Src.Dev, r.job.Dst.Dev
	if !dst.IsZero() && (!standsIn(dst) || r.opts.Offload != OffloadNever && !src.IsZero()) {
		r.watch = r.d.machine.Watch()
	}
}

// concern makes the devices of the plan those that are watched.
func (r *run) concern() {
	if r.plan.layout == nil {
		return
	}
	var devs []remap.Dev
	for _, n := range r.plan.layout.Nodes() {
		devs = append(devs, n.Dev)
	}
	r.watch.Concern(devs)
}

// hasNews tells whether something was heard since the last time, and drops it: the
// layout is going to be compared.
func (r *run) hasNews() bool {
	select {
	case <-r.watch.Woken():
		return true
	default:
		return false
	}
}

// watchLayout compares the layout whenever there is news, until stop is called or cut
// had to be. What was seen then has been, even if all is as planned by the end.
// Zones are written from the front to the end, whatever happens.
func (r *run) watchLayout(ctx context.Context, cut context.CancelCauseFunc) (stop func() []remap.Change) {
	if r.zones.zoner != nil {
		return func() []remap.Change { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	seen := make(chan []remap.Change, 1)
	go func() {
		defer close(seen)
		for r.awaitNews(ctx) {
			r.stats.looks++
			changed, err := r.plan.changes(ctx)
			if len(changed) > 0 || err != nil && ctx.Err() == nil {
				r.stats.cuts++
				r.log.Debug("cutting a window short", "changes", fmt.Sprint(changed), "error", err)
				seen <- changed
				cut(errCut)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(lookPause):
			}
		}
	}()
	return func() []remap.Change {
		cancel()
		return <-seen
	}
}

// awaitNews tells whether there is news before ctx ends.
func (r *run) awaitNews(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-r.watch.Woken():
		return true
	}
}

// takeOut takes what was not begun of a window out of its steps, and returns it in
// the order of the destination.
func takeOut(steps map[pairKey][]Step, results []issued) (unbegun []Step) {
	for _, res := range results {
		if len(res.unbegun) == 0 {
			continue
		}
		unbegun = append(unbegun, res.unbegun...)
		steps[res.key] = without(steps[res.key], res.unbegun)
		if len(steps[res.key]) == 0 {
			delete(steps, res.key)
		}
	}
	slices.SortFunc(unbegun, func(a, b Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	return unbegun
}

// rangesOf are what the steps copy, neighbours joined.
func rangesOf(steps []Step) (list []Range) {
	for _, s := range steps {
		if n := len(list); n > 0 && list[n-1].Src+list[n-1].Len == s.SrcOff && list[n-1].Dst+list[n-1].Len == s.DstOff {
			list[n-1].Len += s.Len
			continue
		}
		list = append(list, Range{Src: s.SrcOff, Dst: s.DstOff, Len: s.Len})
	}
	return list
}
