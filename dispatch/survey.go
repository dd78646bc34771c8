package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/sysblock"
)

// survey is what a look over the whole plan tells before the first byte.
type survey struct {
	tally
	total int64
	// mapped tells that something is to be offloaded through a device whose
	// layout has to be held.
	mapped bool
	// primable is how many bytes lack nothing but a block of a thin volume.
	primable int64
}

// look walks the plan without carrying it out. It refuses what must not be
// begun: a copy that overwrites what it reads, and one that cannot meet the
// policy.
func (p *plan) look(ctx context.Context, ranges []Range) (*survey, error) {
	if err := errors.Join(p.refusePool(), p.refuseBlind(), p.refuseBypassed(ctx)); err != nil {
		return nil, err
	}
	sv := &survey{tally: newTally()}
	shared, primes := newOverlaps(p.stack, p.told), p.granule() > 0
	var through *remap.Node
	count := func(s *Step, _ error) bool {
		if s.wrongThrough() {
			through = s.bypassed
			return false
		}
		sv.total += s.Len
		sv.add(s.Method, s.Reason, s.Len)
		if primes && s.primable() {
			sv.primable += s.Len
		}
		sv.mapped = sv.mapped || s.Method.offloads() && p.mutable(s.via) || sv.primable > 0
		return ctx.Err() == nil
	}
	var step Step
	pairer := p.pairer()
	for _, r := range ranges {
		if !p.resolves(r) {
			step = p.fileStep(ctx, r)
			if !p.emit(&step, count) {
				return nil, interrupted(ctx)
			}
			continue
		}
		for piece, err := range p.pieces(pairer, r) {
			if err == nil {
				err = p.refuseContained(piece)
			}
			if err == nil {
				err = p.classify(ctx, piece, &step)
			}
			if err != nil {
				return nil, err
			}
			shared.add(piece)
			if !p.emit(&step, count) {
				if through != nil {
					return nil, p.refuseThrough(p.stack, through)
				}
				return nil, interrupted(ctx)
			}
		}
	}
	if host := sv.methods[MethodHost] - sv.primable; p.policy == OffloadRequire && host > 0 {
		return sv, fmt.Errorf("%w: %d of %d bytes cannot be offloaded (%s)", ErrPolicy, host, sv.total, sv.sorted()[0].Reason)
	}
	if !shared.any() {
		return sv, nil
	}
	return sv, p.refuseOverlap(ctx, ranges, shared)
}

// refuseOverlap refuses a copy that overlaps, unless it does so only as long as
// different disks of one name are taken for one.
func (p *plan) refuseOverlap(ctx context.Context, ranges []Range, shared *overlaps) error {
	for {
		dev, refusal, err := p.overlap(ctx, ranges, shared)
		if err != nil || refusal == nil {
			return err
		}
		news, err := p.tellApart(ctx, dev)
		if err != nil {
			return err
		}
		if !news {
			return refusal
		}
		shared = newOverlaps(p.stack, p.told)
		if err := p.each(ctx, ranges, shared.add); err != nil {
			return err
		}
	}
}

// mutable tells whether a chain passes a device whose map could be swapped.
func (p *plan) mutable(via *remap.Via) bool {
	for _, link := range via.Chain() {
		if p.stack.Node(link.Dev).Mutable {
			return true
		}
	}
	return false
}

// unlockable tells whether a chain passes a device whose map is true only under
// the lock of a volume group, and that belongs to none.
func (p *plan) unlockable(via *remap.Via) bool {
	for _, link := range via.Chain() {
		if lockless(p.stack.Node(link.Dev)) {
			return true
		}
	}
	return false
}

// shared tells whether a chain passes a volume of a group that other machines may
// change. An anchor holds the tables of this kernel, and nothing of theirs.
func (p *plan) shared(via *remap.Via) bool {
	for _, link := range via.Chain() {
		if p.stack.Node(link.Dev).Owner.Shared {
			return true
		}
	}
	return false
}

func lockless(n *remap.Node) bool {
	return n.Locked && (n.Owner.Manager != "lvm" || n.Owner.Group == "")
}

// refuseContained refuses a copy between a device and one that it is made of in
// a way that is not understood: what is written could be what is yet to be read.
func (p *plan) refuseContained(piece *remap.Piece) error {
	if piece.Src.Kind == remap.Opaque && p.madeOf(p.src.Dev, p.dst.Dev) {
		return refuse(p.src.Name, "is made of %s (%s)", "copy to somewhere else", p.dst.Name, piece.Src.Reason)
	}
	if piece.Dst.Kind == remap.Opaque && p.madeOf(p.dst.Dev, p.src.Dev) {
		return refuse(p.dst.Name, "is made of %s (%s)", "copy to somewhere else", p.src.Name, piece.Dst.Reason)
	}
	return nil
}

// refuseBlind refuses a copy between devices of which one may be made of the other, as
// far as is known of a device that was not read as a whole.
func (p *plan) refuseBlind() error {
	if p.stack == nil {
		return nil
	}
	for _, ends := range [][2]Endpoint{{p.src, p.dst}, {p.dst, p.src}} {
		upper, lower := ends[0], ends[1]
		unread := slices.ContainsFunc(p.stack.Under(upper.Dev), func(n *remap.Node) bool { return n.Unread })
		blind := slices.ContainsFunc(p.stack.Under(upper.Dev), func(n *remap.Node) bool { return n.Unread && whyUnread(n) == sysblock.ReasonBlind })
		switch {
		case unread && p.madeOf(upper.Dev, lower.Dev):
			return refuse(upper.Name, "is made of %s", "copy to somewhere else", lower.Name)
		case blind && upper.Dev != lower.Dev:
			return refuse(upper.Name, "may be made of %s: what it is made of cannot be read", "see what is wrong with it: dmcopy tree", lower.Name)
		}
	}
	return nil
}

// whyUnread is the reason of a device that was not read as a whole.
func whyUnread(n *remap.Node) remap.Reason { return n.Layer.Map(remap.Read, 0, 1).Reason }

// layerPool is the layer of a thin pool itself.
const layerPool = "dm:thin-pool"

// refusePool refuses to write to a thin pool past its volumes: its blocks are
// theirs, and nobody else knows of which.
func (p *plan) refusePool() error {
	if p.stack == nil || p.dst.Dev.IsZero() {
		return nil
	}
	n := p.stack.Node(p.dst.Dev)
	if n.Layer == nil || n.Layer.Map(remap.Write, 0, 1).Layer != layerPool {
		return nil
	}
	return refuse(p.dst.Name, "is a thin pool, whose blocks belong to its volumes", "name a thin volume")
}

func (p *plan) madeOf(upper, lower remap.Dev) bool {
	return upper != lower && slices.ContainsFunc(p.stack.Under(upper), func(n *remap.Node) bool { return n.Dev == lower })
}

// overlap compares the suspects exactly, and tells on which device there is one.
func (p *plan) overlap(ctx context.Context, ranges []Range, shared *overlaps) (dev remap.Dev, refusal, err error) {
	var suspects census
	if err := p.each(ctx, ranges, func(piece *remap.Piece) { suspects.count(shared, piece) }); err != nil {
		return dev, nil, err
	}
	for first := remap.Sector(0); first < buckets; {
		end, runs := suspects.slice(first)
		look := newCloseLook(shared, first, end, runs)
		first = end
		if runs == 0 {
			continue
		}
		if err := p.each(ctx, ranges, look.add); err != nil {
			return dev, nil, err
		}
		if dev, at, found := look.shared(); found {
			return dev, p.refusal(dev, at), nil
		}
	}
	return dev, nil, nil
}

func (p *plan) refusal(dev remap.Dev, at remap.Sector) error {
	n := p.stack.Node(dev)
	if all := likenesses(p.stack, n); len(all) > 1 && !p.told.apart(all) {
		return refuse(p.dst.Name, "shares blocks with %s, or shows a block twice, if %s and %s are one disk: both are called %s, and hold the same bytes wherever they were compared",
			"choose ranges that do not overlap, or give the disks names of their own", p.src.Name, all[0].DisplayName(), all[1].DisplayName(), n.Leaf.Identity)
	}
	return refuse(p.dst.Name, "shares blocks with %s, or shows a block twice: sector %d of %s",
		"choose ranges that do not overlap", p.src.Name, at, sharedName(n))
}

// sharedName names what positions of shared blocks are counted on.
func sharedName(n *remap.Node) string {
	if n.Storage != nil {
		return n.Storage.Name
	}
	return n.DisplayName()
}

// each walks the pieces of all ranges.
func (p *plan) each(ctx context.Context, ranges []Range, f func(*remap.Piece)) error {
	pairer := p.pairer()
	for _, r := range ranges {
		if !p.resolves(r) {
			continue
		}
		for piece, err := range p.pieces(pairer, r) {
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return interrupted(ctx)
			}
			f(piece)
		}
	}
	return nil
}
