// Package blkthrottle is a model of how the kernel holds reads back: block/blk-throttle.c, for
// one disk, with cgroups right below the root of cgroup v2 and limits of bytes per second for
// reads. Its clock is the caller's. test/integration/throttle compares it with kernels.
package blkthrottle

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Rules are what differs between kernels.
type Rules struct {
	HZ int64 // jiffies in a second (CONFIG_HZ)
	// Slice is how many jiffies a slice has: a tenth of a second, but for kernels with
	// CONFIG_BLK_DEV_THROTTLING_LOW (td->throtl_slice).
	Slice int64
	// Signed kernels (7.3) keep what was let through, or waited for, in one signed number
	// (tg->bytes_disp). Others (6.1, 6.12) keep what was waited for apart
	// (tg->carryover_bytes), and do not forget it when a limit of an empty group changes.
	Signed bool
	// Wraps kernels (6.1) take an allowance below nothing for a huge one
	// (tg_within_bps_limit, whose bytes_allowed has no sign there).
	Wraps bool
	// Least is the lowest limit that tg_set_limit accepts: 2 in 6.1 and 6.12, 1 in 7.3.
	Least uint64
}

// Unlimited is the limit "max" (U64_MAX).
const Unlimited = math.MaxUint64

// ErrLimit is EINVAL or ERANGE of tg_set_limit.
var ErrLimit = errors.New("the kernel does not take this limit")

// timerSlices bounds how long the timer sleeps (throtl_schedule_pending_timer).
const timerSlices = 8

// quantum is how many reads of one group are let go at once (THROTL_GRP_QUANTUM * 3 / 4).
const quantum = 6

// Disk is the throttle of one disk. Jiffies never run backwards.
type Disk struct {
	rules   Rules
	pending []*Group // with reads that wait, the first to be looked at first
	timer   int64    // when the pending groups are looked at
}

// NewDisk is a disk that nobody reads from.
func NewDisk(r Rules) *Disk { return &Disk{rules: r} }

// Bio is a read.
type Bio struct {
	Size    int64 // bytes
	charged bool  // its bytes are let through already (BIO_TG_BPS_THROTTLED)
}

// Group is a throtl_grp.
type Group struct {
	disk       *Disk
	limit      uint64
	disp       int64 // bytes let through in this slice
	carryover  int64 // bytes waited for under earlier limits; unless Signed
	start, end int64 // of the slice
	queue      []*Bio
	disptime   int64
	waited     int64 // bytes that counted under the last limit when it was changed
}

// Group makes a group without a limit.
func (d *Disk) Group() *Group { return &Group{disk: d, limit: Unlimited} }

// SetLimit is a write to io.max.
func (g *Group) SetLimit(now int64, limit uint64) error {
	if limit < g.disk.rules.Least {
		return fmt.Errorf("%w: %d", ErrLimit, limit)
	}
	g.updateCarryover(now)
	g.limit = limit
	g.newSlice(now, false)
	if len(g.queue) > 0 {
		g.updateDisptime(now)
		g.disk.schedule(now)
	}
	return nil
}

// Submit hands a read down (blk_throtl_bio). It passes, or it waits.
func (g *Group) Submit(now int64, b *Bio) (passes bool) {
	if g.limit == Unlimited {
		return true // blk_should_throtl
	}
	if g.within(now, b) {
		g.charge(b)
		g.trim(now)
		return true
	}
	g.queue = append(g.queue, b)
	if len(g.queue) == 1 {
		g.updateDisptime(now)
		g.disk.schedule(now)
	}
	return false
}

// within is tg_within_limit.
func (g *Group) within(now int64, b *Bio) bool {
	if len(g.queue) > 0 {
		return false // first in, first out
	}
	return g.wait(now, b) == 0
}

// Next is when the timer fires, if any read waits.
func (d *Disk) Next() (jiffies int64, any bool) { return d.timer, len(d.pending) > 0 }

// Fire is the timer (throtl_pending_timer_fn): it returns what is let go.
func (d *Disk) Fire(now int64) (gone []*Bio) {
	for len(d.pending) > 0 && d.pending[0].disptime <= now {
		g := d.pending[0]
		gone = append(gone, g.dispatch(now)...)
		if len(g.queue) > 0 {
			g.updateDisptime(now)
			continue
		}
		d.pending = slices.DeleteFunc(d.pending, func(p *Group) bool { return p == g })
	}
	if len(d.pending) > 0 {
		d.schedule(now)
	}
	return gone
}

// schedule is throtl_schedule_pending_timer.
func (d *Disk) schedule(now int64) {
	d.timer = min(d.pending[0].disptime, now+timerSlices*d.rules.Slice)
}

// dispatch is throtl_dispatch_tg.
func (g *Group) dispatch(now int64) (gone []*Bio) {
	for len(g.queue) > 0 && len(gone) < quantum && g.wait(now, g.queue[0]) == 0 {
		b := g.queue[0]
		g.queue = g.queue[1:]
		gone = append(gone, b)
		g.charge(b)
		g.trim(now)
	}
	return gone
}

// Disptime is when the first read that waits is let go, unless a limit changes.
func (g *Group) Disptime() (jiffies int64, any bool) { return g.disptime, len(g.queue) > 0 }

// Slice is the slice of the group.
func (g *Group) Slice() (start, end int64) { return g.start, g.end }

// Dispatched is how many bytes were let through in the slice; what was waited for before can count against them.
func (g *Group) Dispatched() int64 { return g.disp }

// Carryover is how many bytes of earlier limits counted when the limit was last changed.
func (g *Group) Carryover() int64 { return g.waited }

// updateDisptime is tg_update_disptime.
func (g *Group) updateDisptime(now int64) {
	wait := g.wait(now, g.queue[0])
	if wait == 0 && g.disk.rules.Signed {
		g.charge(g.queue[0]) // tg_dispatch_time does it here already
	}
	g.disptime = now + wait
	d := g.disk
	d.pending = slices.DeleteFunc(d.pending, func(p *Group) bool { return p == g })
	at := slices.IndexFunc(d.pending, func(p *Group) bool { return p.disptime > g.disptime })
	if at < 0 {
		at = len(d.pending)
	}
	d.pending = slices.Insert(d.pending, at, g)
}

// wait is tg_may_dispatch, and tg_dispatch_bps_time of kernels that are Signed: jiffies
// until the read can pass.
func (g *Group) wait(now int64, b *Bio) int64 {
	if g.limit == Unlimited || b.charged {
		return 0
	}
	if g.sliceUsed(now) && len(g.queue) == 0 {
		g.newSlice(now, true)
	} else {
		g.extendSlice(now + g.disk.rules.Slice)
	}
	wait := g.withinBytes(now, b)
	g.extendSlice(now + wait)
	return wait
}

// withinBytes is tg_within_bps_limit. What has begun of a slice counts as a whole one:
// that is why a read can go up to a slice before its time.
func (g *Group) withinBytes(now int64, b *Bio) int64 {
	r := g.disk.rules
	elapsed := now - g.start
	rounded := roundUp(elapsed, r.Slice)
	if elapsed == 0 {
		rounded = r.Slice
	}
	allowed := g.allowed(rounded) + g.carryover
	if allowed > 0 && g.disp+b.Size <= allowed || allowed < 0 && (r.Signed || r.Wraps) {
		return 0
	}
	extra := uint64(g.disp + b.Size - allowed)
	return int64(max(extra*uint64(r.HZ)/g.limit, 1)) + rounded - elapsed
}

// charge is throtl_charge_bio, or throtl_charge_bps_bio.
func (g *Group) charge(b *Bio) {
	if !b.charged {
		g.disp += b.Size
	}
	b.charged = true
}

// trim is throtl_trim_slice: it forgets whole slices that are over, and what was let through in them.
func (g *Group) trim(now int64) {
	if g.sliceUsed(now) {
		return
	}
	slice := g.disk.rules.Slice
	g.end = roundUp(now+slice, slice)
	elapsed := (now - g.start) / slice * slice
	if g.disk.rules.Signed {
		g.trimSigned(elapsed)
		return
	}
	if elapsed == 0 {
		return
	}
	// Without a limit of requests the kernel computes with a huge one, so that there is always something to forget
	// (calculate_io_allowed of UINT_MAX, as an int of its own).
	bytes := g.allowed(elapsed) + g.carryover
	if bytes <= 0 && g.requests(elapsed) <= 0 {
		return
	}
	g.carryover = 0
	g.disp = max(g.disp-bytes, 0)
	g.start += elapsed
}

// requests is calculate_io_allowed of a group without a limit of requests, as the int that it is assigned to.
func (g *Group) requests(elapsed int64) int32 {
	return int32(uint32(min(math.MaxUint32*elapsed/g.disk.rules.HZ, math.MaxUint32)))
}

// trimSigned keeps one slice more, and forgets no more than there is.
func (g *Group) trimSigned(elapsed int64) {
	slice := g.disk.rules.Slice
	if elapsed < 2*slice || g.limit == Unlimited {
		return
	}
	elapsed -= slice
	bytes := g.allowed(elapsed)
	if bytes <= 0 || g.disp < bytes {
		bytes = g.disp
	}
	g.disp -= bytes
	if bytes != 0 {
		g.start += elapsed
	}
}

// updateCarryover is tg_update_carryover: what was waited for under one limit counts under the next.
func (g *Group) updateCarryover(now int64) {
	if g.disk.rules.Signed {
		g.waited = g.carrySigned(now)
		g.disp = -g.waited
		return
	}
	if len(g.queue) > 0 && g.limit != Unlimited {
		g.carryover += g.allowed(now-g.start) - g.disp
	}
	g.waited = g.carryover
}

func (g *Group) carrySigned(now int64) int64 {
	if len(g.queue) == 0 || g.limit == Unlimited {
		return 0
	}
	allowed := g.allowed(now - g.start)
	if allowed <= 0 {
		return 0 // and what was waited for before is forgotten
	}
	return allowed - g.disp
}

// newSlice is throtl_start_new_slice.
func (g *Group) newSlice(now int64, clear bool) {
	if clear || !g.disk.rules.Signed {
		g.disp = 0
	}
	if clear {
		g.carryover = 0
	}
	g.start, g.end = now, now+g.disk.rules.Slice
}

// extendSlice is throtl_extend_slice.
func (g *Group) extendSlice(end int64) {
	if g.end < end {
		g.end = roundUp(end, g.disk.rules.Slice)
	}
}

// sliceUsed is throtl_slice_used.
func (g *Group) sliceUsed(now int64) bool { return now < g.start || now > g.end }

// allowed is calculate_bytes_allowed, as the signed number that it is assigned to.
func (g *Group) allowed(jiffies int64) int64 {
	hz := uint64(g.disk.rules.HZ)
	if log2(g.limit)+log2(uint64(jiffies))-log2(hz) > 62 {
		return -1 // U64_MAX
	}
	high, low := bits.Mul64(g.limit, uint64(jiffies))
	q, _ := bits.Div64(high, low, hz)
	return int64(q)
}

// log2 is ilog2: of 0 it is -1.
func log2(n uint64) int { return bits.Len64(n) - 1 }

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
