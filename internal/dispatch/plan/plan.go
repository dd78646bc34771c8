package plan

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// Request is what a plan is made for.
type Request struct {
	// Src and Dst are numbered: see [Numbered].
	Src, Dst ends.Endpoint
	Policy   Policy
	Hold     hold.Mode
	// Prime has a thin destination be given the blocks that it lacks.
	Prime bool
	// Trust says which pairs are proven, and which are rejected.
	Trust *Trust
}

// Plan says how one copy is carried out, as the layout is at one moment.
type Plan struct {
	machine machine.Machine
	Stack   *remap.Stack // nil when an end cannot be resolved
	Layout  *remap.Stack // the devices of it; nil when there are none
	src     ends.Endpoint
	Dst     ends.Endpoint
	policy  Policy
	Hold    hold.Mode
	Prime   bool
	trust   *Trust
	pairs   map[Key]copydomain.Pair
}

// New takes a snapshot of both ends.
func New(ctx context.Context, m machine.Machine, req Request) (*Plan, error) {
	p := &Plan{
		machine: m, src: req.Src, Dst: req.Dst, policy: req.Policy, Hold: req.Hold, Prime: req.Prime,
		trust: req.Trust, pairs: make(map[Key]copydomain.Pair),
	}
	return p, p.layOut(ctx)
}

// Steps streams the plan of the ranges.
func (p *Plan) Steps(ctx context.Context, ranges []byterange.Range) iter.Seq2[*Step, error] {
	return func(yield func(*Step, error) bool) {
		pairer, step := remap.NewPairer(p.Stack, p.Stack), new(Step)
		for _, r := range ranges {
			if !p.rangeSteps(ctx, pairer, r, step, yield) {
				return
			}
		}
	}
}

func (p *Plan) rangeSteps(ctx context.Context, pairer *remap.Pairer, r byterange.Range, step *Step, yield func(*Step, error) bool) bool {
	if !p.resolves(r) {
		*step = p.fileStep(ctx, r)
		return emission{p, yield}.of(step)
	}
	for piece, err := range p.pieces(pairer, r) {
		if err == nil {
			err = p.classify(ctx, piece, step)
		}
		if err != nil {
			return yield(nil, err)
		}
		if !(emission{p, yield}).of(step) {
			return false
		}
	}
	return true
}

// resolves tells whether a range lies on block devices on both sides, of which it is
// known what they are made of.
func (p *Plan) resolves(r byterange.Range) bool {
	return p.Stack != nil && sectorAligned(r) && p.unread() == nil
}

// unread returns an end that was not read as a whole, if any. Not even its size is known
// for sure.
func (p *Plan) unread() *remap.Node {
	for _, dev := range []remap.Dev{p.src.Dev, p.Dst.Dev} {
		if n := p.Stack.Node(dev); n != nil && n.Unread {
			return n
		}
	}
	return nil
}

// fileStep is the plan of a range that is not resolved: an end is a regular file, or a
// device that was not read as a whole.
func (p *Plan) fileStep(ctx context.Context, r byterange.Range) Step {
	s := Step{SrcOff: r.Src, DstOff: r.Dst, Len: r.Len, Method: account.Host, Reason: ReasonFile}
	if p.Stack != nil {
		s.Reason = p.whyUnaligned(ctx)
		if n := p.unread(); n != nil {
			s.Reason = whyUnread(n)
		}
	}
	if p.policy == OffloadNever {
		s.Reason = ReasonPolicyNever
	}
	return s
}

// pieces streams where a range lies.
func (p *Plan) pieces(pairer *remap.Pairer, r byterange.Range) iter.Seq2[*remap.Piece, error] {
	from := remap.Range{Dev: p.src.Dev, Start: remap.Sectors(r.Src), Len: remap.Sectors(r.Len)}
	to := remap.Range{Dev: p.Dst.Dev, Start: remap.Sectors(r.Dst), Len: remap.Sectors(r.Len)}
	return func(yield func(*remap.Piece, error) bool) {
		for piece, err := range pairer.Pair(from, to) {
			if !yield(piece, p.shrunk(err)) {
				return
			}
		}
	}
}

// shrunk says of a range that lies outside of an end that the end was made smaller: when it was
// opened, the range lay within.
func (p *Plan) shrunk(err error) error {
	if !errors.Is(err, remap.ErrOutOfRange) {
		return err
	}
	for _, end := range []ends.Endpoint{p.src, p.Dst} {
		if had, has := end.Device.Size(), p.Stack.Node(end.Dev).Size.Bytes(); has < had {
			return fmt.Errorf("%s: %w", Shrunk(end.Name, has, had), err)
		}
	}
	return err
}

// Shrunk says that an end was made smaller, from and to so many bytes, and what to do.
func Shrunk(name string, has, had int64) string {
	return fmt.Sprintf("%s was made smaller while it was copied: it has %d bytes now, and had %d: make it as large as it was and copy again, or copy what fits with --length",
		failure.Quote(name), has, had)
}

func sectorAligned(r byterange.Range) bool {
	return (r.Src|r.Dst|r.Len)%remap.SectorSize == 0
}

// classify decides how a piece is copied.
func (p *Plan) classify(ctx context.Context, piece *remap.Piece, s *Step) error {
	src, dst := &piece.Src, &piece.Dst
	*s = Step{SrcOff: src.Start.Bytes(), DstOff: dst.Start.Bytes(), Len: src.Len.Bytes(), Method: account.Host, Via: dst.Via}
	if dst.Blank > 0 {
		s.unit, s.unitOff = dst.Blank.Bytes(), dst.Leg.Start.Bytes()
	}
	if s.bypassed = p.bypassed(src); s.bypassed == nil {
		s.bypassed = p.bypassed(dst)
	}
	cipher := remap.SameCipher(src, dst)
	stored := stored(p.Stack, src, dst)
	from, readable := sourceLeg(src)
	if readable = readable || cipher || stored; readable {
		s.SrcLeaf, s.SrcLeafOff = p.Stack.Node(from.Dev), from.Start.Bytes()
	}
	if dst.Kind == remap.Data || cipher || stored {
		s.DstLeaf, s.DstLeafOff = p.Stack.Node(dst.Leg.Dev), dst.Leg.Start.Bytes()
	}
	switch {
	case dst.Kind == remap.Zero || dst.Kind == remap.Error:
		return failure.Refuse(p.Dst.Name, "keeps no data between bytes %d and %d (%s target)",
			"leave that part out with --dst-offset and --length", s.DstOff, s.DstOff+s.Len, dst.Kind)
	case src.Kind == remap.Zero:
		s.Method, s.Reason = account.Zero, ReasonZeroSource
	case p.policy == OffloadNever:
		s.Reason = ReasonPolicyNever
	case dst.Kind != remap.Data && !cipher && !stored:
		s.Reason = whyNot(dst, ReasonRedundant)
	case !readable:
		s.Reason = whyNot(src, ReasonNoLeg)
	case cipher && !cipherAligned(src, dst):
		s.Reason = ReasonAlignment
	default:
		p.chooseMethod(ctx, s)
	}
	if cipher {
		s.Block = max(s.Block, dst.Cipher.Block.Bytes())
	}
	return nil
}

// cipherAligned tells whether the blocks of a cipher begin at multiples of their size
// on either leaf, so that steps that are cut there hold whole blocks.
func cipherAligned(src, dst *remap.Extent) bool {
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

// chooseMethod picks the method for a step with a place on either side.
func (p *Plan) chooseMethod(ctx context.Context, s *Step) {
	if p.Hold == hold.None && mutable(p.Stack, s.Via) || p.Hold != hold.Trust && (unlockable(p.Stack, s.Via) || movableLoop(s)) {
		s.Reason = ReasonHoldUnavailable
		return
	}
	if p.Hold == hold.Auto && shared(p.Stack, s.Via) {
		s.Reason = ReasonHoldShared
		return
	}
	if zoned(s.DstLeaf) != (p.Dst.Zones != nil) {
		// What makes one of the other has rules of its own for what lies where.
		s.Reason = copydomain.ReasonZoned
		return
	}
	pair := p.pairOf(ctx, s.SrcLeaf, s.DstLeaf)
	if pair.Method == "" {
		s.Reason = pair.Reason
		return
	}
	s.Method, s.Domain, s.Pair, s.Block = account.Method(pair.Method), pair.Domain, pair, int64(pair.Block)
}

// pairOf asks the machine for each pair once. A rejected pair has no method.
func (p *Plan) pairOf(ctx context.Context, src, dst *remap.Node) copydomain.Pair {
	if why, bad := p.trust.Rejected(src, dst); bad {
		return copydomain.Pair{Src: src, Dst: dst, Reason: why}
	}
	key := Key{src.Dev, dst.Dev}
	pair, known := p.pairs[key]
	if !known {
		pair = p.machine.Pair(ctx, src, dst)
		p.pairs[key] = pair
	}
	return pair
}
