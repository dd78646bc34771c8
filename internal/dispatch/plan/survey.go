package plan

import (
	"context"
	"errors"
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Summary is what a look over the whole plan tells before the first byte.
type Summary struct {
	account.Tally
	Total int64
	// mapped tells that something is to be offloaded through a device whose
	// layout has to be held.
	Mapped bool
	// primable is how many bytes lack nothing but a block of a thin volume.
	primable int64
}

// Survey walks the plan without carrying it out. It refuses what must not be
// begun: a copy that overwrites what it reads, and one that cannot meet the
// policy.
func (p *Plan) Survey(ctx context.Context, ranges []byterange.Range) (*Summary, error) {
	return surveyor{p}.survey(ctx, ranges)
}

// RefuseMoved refuses what a destination that was moved would overwrite, as at the beginning.
func (p *Plan) RefuseMoved(ctx context.Context, ranges []byterange.Range) error {
	if p.Stack == nil {
		return nil
	}
	sv := surveyor{p}
	shared := newOverlaps(p.Stack, p.trust)
	if err := sv.each(ctx, ranges, shared.add); err != nil || !shared.any() {
		return err
	}
	return sv.refuseOverlap(ctx, ranges, shared)
}

// A surveyor walks a plan and refuses what must not be begun.
type surveyor struct{ *Plan }

func (p surveyor) survey(ctx context.Context, ranges []byterange.Range) (*Summary, error) {
	if err := errors.Join(p.refusePool(), p.refuseBlind(), p.refuseBypassed(ctx)); err != nil {
		return nil, err
	}
	sv := &Summary{Tally: account.NewTally()}
	shared, primes := newOverlaps(p.Stack, p.trust), p.Granule() > 0
	var through *remap.Node
	count := func(s *Step, _ error) bool {
		if s.wrongThrough() {
			through = s.bypassed
			return false
		}
		sv.Total += s.Len
		sv.Add(s.Method, s.Reason, s.Len)
		if primes && s.Primable() {
			sv.primable += s.Len
		}
		sv.Mapped = sv.Mapped || s.Method.Offloads() && mutable(p.Stack, s.Via) || sv.primable > 0
		return ctx.Err() == nil
	}
	var step Step
	pairer := remap.NewPairer(p.Stack, p.Stack)
	for _, r := range ranges {
		if !p.resolves(r) {
			step = p.fileStep(ctx, r)
			if !(emission{p.Plan, count}).of(&step) {
				return nil, failure.Interrupted(ctx)
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
			if !(emission{p.Plan, count}).of(&step) {
				if through != nil {
					return nil, p.refuseThrough(p.Stack, through)
				}
				return nil, failure.Interrupted(ctx)
			}
		}
	}
	if host := sv.Methods[account.Host] - sv.primable; p.policy == OffloadRequire && host > 0 {
		return sv, failure.Unmet("--offload=require", "cannot be met: of the %[2]d bytes that are to be copied, %[1]d cannot be offloaded (%[3]s)",
			"leave it out, and they are copied through this machine (dmcopy plan shows which, and why)", host, sv.Total, sv.Sorted()[0].Reason)
	}
	if !shared.any() {
		return sv, nil
	}
	return sv, p.refuseOverlap(ctx, ranges, shared)
}

// refuseOverlap refuses a copy that overlaps, unless it does so only as long as
// different disks of one name are taken for one.
func (p surveyor) refuseOverlap(ctx context.Context, ranges []byterange.Range, shared *overlaps) error {
	for {
		dev, refusal, err := p.overlap(ctx, ranges, shared)
		if err != nil || refusal == nil {
			return err
		}
		found, err := p.proveDistinct(ctx, dev)
		if err != nil {
			return err
		}
		if !found {
			return refusal
		}
		shared = newOverlaps(p.Stack, p.trust)
		if err := p.each(ctx, ranges, shared.add); err != nil {
			return err
		}
	}
}

// mutable tells whether a chain passes a device whose map could be swapped.
func mutable(st *remap.Stack, via *remap.Via) bool {
	for _, link := range via.Chain() {
		if st.Node(link.Dev).Mutable {
			return true
		}
	}
	return false
}

// unlockable tells whether a chain passes a device whose map is true only under
// the lock of a volume group, and that belongs to none.
func unlockable(st *remap.Stack, via *remap.Via) bool {
	for _, link := range via.Chain() {
		if lockless(st.Node(link.Dev)) {
			return true
		}
	}
	return false
}

// shared tells whether a chain passes a volume of a group that other machines may
// change. An anchor holds the tables of this kernel, and nothing of theirs.
func shared(st *remap.Stack, via *remap.Via) bool {
	for _, link := range via.Chain() {
		if st.Node(link.Dev).Owner.Shared {
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
func (p surveyor) refuseContained(piece *remap.Piece) error {
	if piece.Src.Kind == remap.Opaque && p.madeOf(p.src.Dev, p.Dst.Dev) {
		return failure.Refuse(p.src.Name, "is made of %s (%s)", "choose another destination", p.Dst.Name, piece.Src.Reason)
	}
	if piece.Dst.Kind == remap.Opaque && p.madeOf(p.Dst.Dev, p.src.Dev) {
		return failure.Refuse(p.Dst.Name, "is made of %s (%s)", "choose another destination", p.src.Name, piece.Dst.Reason)
	}
	return nil
}

// refuseBlind refuses a copy between devices of which one may be made of the other, as
// far as is known of a device that was not read as a whole.
func (p surveyor) refuseBlind() error {
	if p.Stack == nil {
		return nil
	}
	for _, ends := range [][2]ends.Endpoint{{p.src, p.Dst}, {p.Dst, p.src}} {
		upper, lower := ends[0], ends[1]
		unread := slices.ContainsFunc(p.Stack.Under(upper.Dev), func(n *remap.Node) bool { return n.Unread })
		blind := slices.ContainsFunc(p.Stack.Under(upper.Dev), func(n *remap.Node) bool { return n.Unread && whyUnread(n) == sysblock.ReasonBlind })
		switch {
		case unread && p.madeOf(upper.Dev, lower.Dev):
			return failure.Refuse(upper.Name, "is made of %s", "choose another destination", lower.Name)
		case blind && upper.Dev != lower.Dev:
			return failure.Refuse(upper.Name, "may be made of %s: what it is made of cannot be read", "run dmcopy tree: it shows what is wrong with the device", lower.Name)
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
func (p surveyor) refusePool() error {
	if p.Stack == nil || p.Dst.Dev.IsZero() {
		return nil
	}
	n := p.Stack.Node(p.Dst.Dev)
	if n.Layer == nil || n.Layer.Map(remap.Write, 0, 1).Layer != layerPool {
		return nil
	}
	return failure.Refuse(p.Dst.Name, "is a thin pool, whose blocks belong to its volumes", "name a thin volume")
}

func (p surveyor) madeOf(upper, lower remap.Dev) bool {
	return upper != lower && slices.ContainsFunc(p.Stack.Under(upper), func(n *remap.Node) bool { return n.Dev == lower })
}

// overlap compares the candidates exactly, and tells on which device there is one.
func (p surveyor) overlap(ctx context.Context, ranges []byterange.Range, shared *overlaps) (dev remap.Dev, refusal, err error) {
	var candidates census
	if err := p.each(ctx, ranges, func(piece *remap.Piece) { candidates.count(shared, piece) }); err != nil {
		return dev, nil, err
	}
	for first := remap.Sector(0); first < buckets; {
		end, runs := candidates.slice(first)
		look := newExactCheck(shared, first, end, runs)
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

func (p surveyor) refusal(dev remap.Dev, at remap.Sector) error {
	n := p.Stack.Node(dev)
	if all := sameIdentity(p.Stack, n); len(all) > 1 && !p.trust.allDistinct(all) {
		return failure.Refuse(p.Dst.Name, "shares blocks with %s, or shows a block twice, if %s and %s are one disk: both are called %s, and hold the same bytes wherever they were compared",
			"choose ranges that do not overlap, or give the disks names of their own", p.src.Name, all[0].DisplayName(), all[1].DisplayName(), n.Leaf.Identity)
	}
	return failure.Refuse(p.Dst.Name, "shares blocks with %s, or shows a block twice: sector %d of %s",
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
func (p surveyor) each(ctx context.Context, ranges []byterange.Range, f func(*remap.Piece)) error {
	pairer := remap.NewPairer(p.Stack, p.Stack)
	for _, r := range ranges {
		if !p.resolves(r) {
			continue
		}
		for piece, err := range p.pieces(pairer, r) {
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return failure.Interrupted(ctx)
			}
			f(piece)
		}
	}
	return nil
}
