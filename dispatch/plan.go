package dispatch

import (
	"context"
	"iter"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
)

// Method says how a piece is copied.
type Method string

const (
	// MethodNVMeCopy: the namespace copies by itself.
	MethodNVMeCopy = Method(copydomain.NVMeCopy)
	// MethodNVMeCopyXNS: a controller copies from one namespace to another.
	MethodNVMeCopyXNS = Method(copydomain.NVMeCopyXNS)
	// MethodFileReflink: two files share blocks.
	MethodFileReflink = Method(copydomain.FileReflink)
	// MethodFileCopyRange: the server of two files copies.
	MethodFileCopyRange = Method(copydomain.FileCopyRange)
	// MethodHost: read and written through the top of both stacks.
	MethodHost Method = "host"
	// MethodZero: the source reads as zeroes and has no place; the
	// destination is made to.
	MethodZero Method = "zero"
	// MethodSkip: nothing is to be done.
	MethodSkip Method = "skip"
)

// offloads tells whether a device copies by itself.
func (m Method) offloads() bool { return m != MethodHost && m != MethodZero && m != MethodSkip }

// Reasons that planning gives.
const (
	ReasonPolicyNever remap.Reason = "policy:never"
	ReasonZeroSource  remap.Reason = "source:zero"
	ReasonHole        remap.Reason = "source:hole"
	ReasonAlignment   remap.Reason = "limit:alignment"
	ReasonFile        remap.Reason = "layer:file"
	ReasonLoop        remap.Reason = "layer:loop"
	ReasonRedundant   remap.Reason = "layer:redundant-destination"
	ReasonCipher                   = remap.ReasonCipher
	ReasonNoLeg       remap.Reason = "layer:no-readable-leg"
)

// Step is a piece of the plan: a run that is copied in one way and lies in one
// place on either side. All numbers are bytes.
type Step struct {
	SrcOff, DstOff, Len int64
	Method              Method
	// Reason says why the step is not offloaded.
	Reason remap.Reason
	// SrcLeaf and DstLeaf are set where the place is known.
	SrcLeaf, DstLeaf       *remap.Node
	SrcLeafOff, DstLeafOff int64
	// Domain names the copy domain of an offloaded step.
	Domain string

	pair copydomain.Pair
	via  *remap.Via // of the destination
	// bypassed is the device that the step must not be copied through: [remap.Node.Bypassed].
	bypassed *remap.Node
	// block is what an offloaded step cannot be cut below.
	block int64
	// unit is that of what reads as zeroes at the destination ([remap.Place.Blank]), in
	// bytes, and unitOff where the step is on the device of it; 0 if that is not known.
	unit, unitOff int64
}

// plan is what the planner needs to know about one copy.
type plan struct {
	machine Machine
	stack   *remap.Stack // nil when an end cannot be resolved
	layout  *remap.Stack // the devices of it; nil when there are none
	src     Endpoint
	dst     Endpoint
	policy  Policy
	hold    hold.Mode
	prime   bool
	// poisoned pairs have failed their proof or told that they cannot copy.
	poisoned map[pairKey]remap.Reason

	pairs map[pairKey]copydomain.Pair
	told  twins // what the run has found out about disks of one name
}

type pairKey struct{ src, dst remap.Dev }

// Plan tells what a copy would do, piece by piece and in order, without
// writing anything. The step is reused.
func (d *Dispatcher) Plan(ctx context.Context, job Job) iter.Seq2[*Step, error] {
	return func(yield func(*Step, error) bool) {
		ranges, err := Ranges(job.Src, job.Dst, job.Ranges)
		if err != nil {
			yield(nil, err)
			return
		}
		job.Ranges = ranges
		p, err := d.newPlan(ctx, job, nil)
		if err != nil {
			yield(nil, wrap("plan", err))
			return
		}
		for step, err := range p.steps(ctx, job.inSectors()) {
			if !yield(step, wrap("plan", err)) {
				return
			}
		}
	}
}

// newPlan takes a snapshot of both ends.
func (d *Dispatcher) newPlan(ctx context.Context, job Job, poisoned map[pairKey]remap.Reason) (*plan, error) {
	job = job.withFiles()
	p := &plan{
		machine: d.machine, src: job.Src, dst: job.Dst, policy: d.opts.Offload, hold: d.opts.Hold, prime: d.opts.Prime,
		poisoned: poisoned, pairs: make(map[pairKey]copydomain.Pair), told: make(twins),
	}
	return p, p.layOut(ctx)
}

// steps streams the plan of the ranges.
func (p *plan) steps(ctx context.Context, ranges []Range) iter.Seq2[*Step, error] {
	return func(yield func(*Step, error) bool) {
		pairer, step := p.pairer(), new(Step)
		for _, r := range ranges {
			if !p.rangeSteps(ctx, pairer, r, step, yield) {
				return
			}
		}
	}
}

func (p *plan) rangeSteps(ctx context.Context, pairer *remap.Pairer, r Range, step *Step, yield func(*Step, error) bool) bool {
	if !p.resolves(r) {
		*step = p.fileStep(ctx, r)
		return p.emit(step, yield)
	}
	for piece, err := range p.pieces(pairer, r) {
		if err == nil {
			err = p.classify(ctx, piece, step)
		}
		if err != nil {
			return yield(nil, err)
		}
		if !p.emit(step, yield) {
			return false
		}
	}
	return true
}

// resolves tells whether a range lies on block devices on both sides, of which it is
// known what they are made of.
func (p *plan) resolves(r Range) bool { return p.stack != nil && sectorAligned(r) && p.unread() == nil }

// unread returns an end that was not read as a whole, if any. Not even its size is known
// for sure.
func (p *plan) unread() *remap.Node {
	for _, dev := range []remap.Dev{p.src.Dev, p.dst.Dev} {
		if n := p.stack.Node(dev); n != nil && n.Unread {
			return n
		}
	}
	return nil
}

// fileStep is the plan of a range that is not resolved: an end is a regular file, or a
// device that was not read as a whole.
func (p *plan) fileStep(ctx context.Context, r Range) Step {
	s := Step{SrcOff: r.Src, DstOff: r.Dst, Len: r.Len, Method: MethodHost, Reason: ReasonFile}
	if p.stack != nil {
		s.Reason = p.ragged(ctx)
		if n := p.unread(); n != nil {
			s.Reason = whyUnread(n)
		}
	}
	if p.policy == OffloadNever {
		s.Reason = ReasonPolicyNever
	}
	return s
}

// pairer is for one walk over ranges of both ends.
func (p *plan) pairer() *remap.Pairer { return remap.NewPairer(p.stack, p.stack) }

// pieces streams where a range lies.
func (p *plan) pieces(pairer *remap.Pairer, r Range) iter.Seq2[*remap.Piece, error] {
	from := remap.Range{Dev: p.src.Dev, Start: sectors(r.Src), Len: sectors(r.Len)}
	to := remap.Range{Dev: p.dst.Dev, Start: sectors(r.Dst), Len: sectors(r.Len)}
	return pairer.Pair(from, to)
}

func sectorAligned(r Range) bool {
	return (r.Src|r.Dst|r.Len)%remap.SectorSize == 0
}

func sectors(bytes int64) remap.Sector { return remap.Sector(bytes / remap.SectorSize) }

// classify decides how a piece is copied.
func (p *plan) classify(ctx context.Context, piece *remap.Piece, s *Step) error {
	src, dst := &piece.Src, &piece.Dst
	*s = Step{SrcOff: src.Start.Bytes(), DstOff: dst.Start.Bytes(), Len: src.Len.Bytes(), Method: MethodHost, via: dst.Via}
	if dst.Blank > 0 {
		s.unit, s.unitOff = dst.Blank.Bytes(), dst.Leg.Start.Bytes()
	}
	if s.bypassed = p.bypassed(src); s.bypassed == nil {
		s.bypassed = p.bypassed(dst)
	}
	cipher := remap.SameCipher(src, dst)
	stored := p.stored(src, dst)
	from, readable := sourceLeg(src)
	if readable = readable || cipher || stored; readable {
		s.SrcLeaf, s.SrcLeafOff = p.stack.Node(from.Dev), from.Start.Bytes()
	}
	if dst.Kind == remap.Data || cipher || stored {
		s.DstLeaf, s.DstLeafOff = p.stack.Node(dst.Leg.Dev), dst.Leg.Start.Bytes()
	}
	switch {
	case dst.Kind == remap.Zero || dst.Kind == remap.Error:
		return refuse(p.dst.Name, "keeps no data between bytes %d and %d (%s target)",
			"leave that part out with --dst-offset and --length", s.DstOff, s.DstOff+s.Len, dst.Kind)
	case src.Kind == remap.Zero:
		s.Method, s.Reason = MethodZero, ReasonZeroSource
	case p.policy == OffloadNever:
		s.Reason = ReasonPolicyNever
	case dst.Kind != remap.Data && !cipher && !stored:
		s.Reason = whyNot(dst, ReasonRedundant)
	case !readable:
		s.Reason = whyNot(src, ReasonNoLeg)
	case cipher && !inPhase(src, dst):
		s.Reason = ReasonAlignment
	default:
		p.choose(ctx, s)
	}
	if cipher {
		s.block = max(s.block, dst.Cipher.Block.Bytes())
	}
	return nil
}

// inPhase tells whether the blocks of a cipher begin at multiples of their size
// on either leaf, so that steps that are cut there hold whole blocks.
func inPhase(src, dst *remap.Extent) bool {
	block := uint64(dst.Cipher.Block)
	return (uint64(src.Leg.Start)-src.IV)%block == 0 && (uint64(dst.Leg.Start)-dst.IV)%block == 0
}

// sourceLeg returns the place to read an extent from, if there is one.
func sourceLeg(e *remap.Extent) (remap.Leg, bool) {
	switch e.Kind {
	case remap.Data:
		return e.Leg, true
	case remap.Cipher, remap.Opaque: // for a cipher that is the same on the other side, and for files
		return e.Leg, false
	case remap.Replica:
		for _, leg := range e.Legs {
			if leg.Readable {
				return leg, true
			}
		}
	}
	return remap.Leg{}, false
}

// whyNot tells why an extent takes no part in an offload; fallback is for
// replicas.
func whyNot(e *remap.Extent, fallback remap.Reason) remap.Reason {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Kind == remap.Cipher:
		return ReasonCipher
	}
	return fallback
}

// choose picks the method for a step with a place on either side.
func (p *plan) choose(ctx context.Context, s *Step) {
	if p.hold == hold.None && p.mutable(s.via) || p.hold != hold.Trust && (p.unlockable(s.via) || loose(s)) {
		s.Reason = ReasonHoldUnavailable
		return
	}
	if p.hold == hold.Auto && p.shared(s.via) {
		s.Reason = ReasonHoldShared
		return
	}
	if zoned(s.DstLeaf) != (p.dst.Zones != nil) {
		// What makes one of the other has rules of its own for what lies where.
		s.Reason = copydomain.ReasonZoned
		return
	}
	pair := p.pairOf(ctx, s.SrcLeaf, s.DstLeaf)
	if pair.Method == "" {
		s.Reason = pair.Reason
		return
	}
	s.Method, s.Domain, s.pair, s.block = Method(pair.Method), pair.Domain, pair, int64(pair.Block)
}

// pairOf asks the machine for each pair once. A poisoned one has no method.
func (p *plan) pairOf(ctx context.Context, src, dst *remap.Node) copydomain.Pair {
	key := pairKey{src.Dev, dst.Dev}
	if why, bad := p.poisoned[key]; bad {
		return copydomain.Pair{Src: src, Dst: dst, Reason: why}
	}
	pair, known := p.pairs[key]
	if !known {
		pair = p.machine.Pair(ctx, src, dst)
		p.pairs[key] = pair
	}
	return pair
}

// align yields an offloaded step in pieces that fit the blocks of its leaves,
// and what sticks out at either end as slivers for the host. A step that is
// not offloaded goes as it is.
func (s *Step) align(yield func(*Step, error) bool) bool {
	if !s.Method.offloads() {
		return yield(s, nil)
	}
	block := s.block
	head := (block - s.DstLeafOff%block) % block
	if (s.SrcLeafOff+head)%block != 0 || head >= s.Len {
		s.toHost(ReasonAlignment)
		return yield(s, nil)
	}
	tail := (s.Len - head) % block
	whole := *s
	if head > 0 && !yieldSliver(whole.part(0, head), s, yield) {
		return false
	}
	if body := whole.Len - head - tail; body > 0 {
		*s = whole.part(head, body)
		if !yield(s, nil) {
			return false
		}
	}
	if tail > 0 {
		return yieldSliver(whole.part(whole.Len-tail, tail), s, yield)
	}
	return true
}

func yieldSliver(sliver Step, s *Step, yield func(*Step, error) bool) bool {
	*s = sliver
	s.toHost(ReasonAlignment)
	return yield(s, nil)
}

// part returns n bytes of the step, from byte off of it on.
func (s *Step) part(off, n int64) Step {
	p := *s
	p.SrcOff += off
	p.DstOff += off
	p.SrcLeafOff += off
	p.DstLeafOff += off
	p.unitOff += off
	p.Len = n
	return p
}

// toHost makes the step one that goes through the host.
func (s *Step) toHost(why remap.Reason) {
	s.Method, s.Reason, s.Domain, s.pair, s.block = MethodHost, why, "", copydomain.Pair{}, 0
}
