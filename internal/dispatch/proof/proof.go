// Package proof decides whether a pair of leaves can be trusted: its first command is read back
// at both leaves.
package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/internal/dispatch/zones"
	"github.com/dmcopy/dmcopy/remap"
)

// A pair is trusted once a command of it was seen to do what it said. The proof is
// made at the leaves, because while a hold is on nothing may wait for I/O through a
// mapped device. Copying equal bytes proves nothing: where source and destination are
// equal, the destination is marked beforehand ([run.mark]). A proof with a source that
// is the same all over, zeroes for one, does not tell where a command has read: later
// windows are looked through for a better one. All of it reads less than 4096 sectors
// a pair, whatever the data.

const (
	// proofBytes is how much a proof copies and reads back.
	proofBytes = 64 << 10
	// proofPlaces is in how many places of a window, of lookBytes or a block each, the
	// source is looked at for a sample that tells where it was read.
	proofPlaces = 8
	lookBytes   = 4 << 10
	// proofLooks is how many windows are looked through for a better sample.
	proofLooks = 8
	// proofTries is in how many windows nothing may tell what a command does.
	proofTries = 3
)

// proof is how far a run can trust a pair of leaves.
type proof struct {
	// ground is what the pair was proven on.
	ground plan.Ground
	// sample is what the window under way has to prove the pair with; of no length
	// where it has not.
	sample copydomain.Move
	// unlike: the sample is not the same all over.
	unlike bool
	// proven is set by the first sample that was copied, sure by one that was unlike,
	// or when there have been enough looks.
	proven, sure bool
	looks, tries int
}

// Prover proves the pairs of one copy.
type Prover struct {
	leaves  *Leaves
	engine  emulation.Engine
	dst     ends.Endpoint
	zones   *zones.Zones
	trust   *plan.Trust
	account *account.Account
	log     *slog.Logger

	proofs map[plan.Key]*proof
	marks  []marked
}

// New proves nothing yet.
func New(leaves *Leaves, engine emulation.Engine, dst ends.Endpoint, z *zones.Zones, trust *plan.Trust, counts *account.Account, log *slog.Logger) *Prover {
	return &Prover{leaves: leaves, engine: engine, dst: dst, zones: z, trust: trust, account: counts, log: log, proofs: make(map[plan.Key]*proof)}
}

// Proven tells whether a command of the pair was seen to do what it said.
func (v *Prover) Proven(key plan.Key) bool { return v.proofs[key].proven }

// Due tells whether the window under way has to prove the pair.
func (v *Prover) Due(key plan.Key) bool { return v.proofs[key].sample.Len > 0 }

// Choose picks the samples of a window, before the layout is held, and takes out the
// steps of pairs that nothing would tell of.
func (v *Prover) Choose(ctx context.Context, steps window.Offload) (unprovable []plan.Step, err error) {
	for key, some := range steps {
		p, ground := v.proofs[key], v.trust.Ground(some[0].SrcLeaf, some[0].DstLeaf)
		if p == nil || p.ground.Lost(ground) {
			known := v.trust.Proven(ground)
			p = &proof{ground: ground, proven: known, sure: known}
			v.proofs[key] = p
		}
		p.sample = copydomain.Move{}
		if p.sure {
			continue
		}
		err := v.pick(ctx, p, window.NewBatch(some, nil))
		if ctx.Err() != nil {
			return nil, failure.Interrupted(ctx)
		}
		if p.proven || err == nil {
			continue
		}
		v.log.Info("copy offload cannot be proven here", "pair", some[0].Pair.Domain, "error", err)
		unprovable = append(unprovable, window.ToHost(some, plan.ReasonUnproven)...)
		delete(steps, key)
		if p.tries++; p.tries == proofTries {
			v.trust.Reject(some[0].SrcLeaf, some[0].DstLeaf, plan.ReasonUnproven)
		}
	}
	return unprovable, nil
}

var errNoSample = errors.New("no sample of the window can be read")

// pick chooses a sample, and sees to it that source and destination differ there.
func (v *Prover) pick(ctx context.Context, p *proof, b *window.Batch) error {
	src, dst, err := v.ends(ctx, b)
	if err != nil {
		return err
	}
	sample, unlike, err := v.look(ctx, src, b)
	if err != nil {
		return err
	}
	if p.proven && !unlike {
		p.looks++
		p.sure = p.looks == proofLooks
		return nil
	}
	if !v.zones.Any() {
		equal, err := v.same(ctx, src, dst, sample)
		if err == nil && equal {
			err = v.mark(ctx, b, sample)
		}
		if err != nil {
			return err
		}
	}
	p.sample, p.unlike = sample, unlike
	return nil
}

// look finds a sample in a batch, if possible one that is unlike itself from sector to
// sector.
func (v *Prover) look(ctx context.Context, src machine.Leaf, b *window.Batch) (sample copydomain.Move, unlike bool, err error) {
	pool, err := blockio.NewPool(1, max(lookBytes, b.Pair.Block))
	if err != nil {
		return sample, false, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	buffer, err := pool.Get(ctx)
	if err != nil {
		return sample, false, err
	}
	defer pool.Put(buffer)
	moves := b.Moves()
	var total remap.Sector
	for _, m := range moves {
		total += m.Len
	}
	places := remap.Sector(proofPlaces)
	if v.zones.Any() {
		places = 1 // a zone is written from where it ends
	}
	for i := range places {
		candidate := cut(moves, i*total/proofPlaces, b.Pair.Block)
		p := buffer[:min(int64(len(buffer)), candidate.Len.Bytes())]
		v.account.Count(account.ReadBack, int64(len(p)))
		if emulation.ReadWhole(src, p, candidate.Src.Bytes()) != nil {
			continue // what cannot be read will be met again
		}
		if sample.Len == 0 {
			sample = candidate
		}
		if !alike(p) {
			return candidate, true, nil
		}
	}
	if sample.Len == 0 {
		return sample, false, errNoSample
	}
	return sample, false, nil
}

// alike tells whether all sectors of p are the same.
func alike(p []byte) bool {
	return len(p) <= remap.SectorSize || bytes.Equal(p[remap.SectorSize:], p[:len(p)-remap.SectorSize])
}

// Trial is what came of proving a pair.
type Trial struct {
	Result copydomain.Result
	Rest   []copydomain.Move // not yet issued
	// Failed is why the pair is not proven; ErrInconclusive if it could be neither proven nor refuted.
	Failed error
}

// Prove copies the sample of the window and reads it back at both leaves. An error
// ends the copy: the copier refuses the moves.
func (v *Prover) Prove(ctx context.Context, copier copydomain.Copier, key plan.Key, b *window.Batch, moves []copydomain.Move) (Trial, error) {
	p := v.proofs[key]
	rest := take(moves, p.sample)
	src, dst, err := v.ends(ctx, b)
	if err == nil {
		err = v.differs(ctx, src, dst, b, p.sample)
	}
	if err != nil {
		return Trial{Failed: err}, nil
	}
	result, err := copier.Copy(ctx, []copydomain.Move{p.sample})
	if err != nil {
		return Trial{}, err
	}
	if len(result.Redo)+len(result.Fenced) > 0 {
		// The device has told that it did not copy: that is honest, and
		// accounted for like any other failure.
		return Trial{Result: untried(result, rest)}, nil
	}
	equal, err := v.same(ctx, src, dst, p.sample)
	if err == nil && equal {
		equal, err = v.passedBy(b, p.sample)
	}
	switch {
	case err != nil:
		return Trial{Result: result, Failed: err}, nil
	case !equal:
		return Trial{Result: result, Failed: unequal(p.sample, b)}, nil
	}
	p.proven, p.sure = true, p.sure || p.unlike
	if p.sure {
		v.trust.Prove(p.ground)
	}
	return Trial{Result: result, Rest: rest}, nil
}

// ErrInconclusive: source and destination are equal, so that copying the sample would prove nothing.
var ErrInconclusive = errors.New("source and destination are equal")

// differs fails where copying the sample would prove nothing. In a zone, something
// does whatever the bytes: the write pointer.
func (v *Prover) differs(ctx context.Context, src, dst machine.Leaf, b *window.Batch, sample copydomain.Move) error {
	if v.zones.Any() {
		at, pointer, err := v.pointer(b, sample)
		if err == nil && pointer != at {
			err = ErrInconclusive
		}
		return err
	}
	equal, err := v.same(ctx, src, dst, sample)
	if err == nil && equal {
		err = ErrInconclusive
	}
	return err
}

// passedBy tells whether the write pointer of a zone has passed by the sample.
func (v *Prover) passedBy(b *window.Batch, sample copydomain.Move) (bool, error) {
	if !v.zones.Any() {
		return true, nil
	}
	at, pointer, err := v.pointer(b, sample)
	return pointer == at+sample.Len.Bytes(), err
}

var ErrUnequal = errors.New("reported as copied and not equal to the source")

func unequal(m copydomain.Move, b *window.Batch) error {
	return fmt.Errorf("%d sectors at sector %d of %s: %w", m.Len, m.Dst, b.Pair.Dst.DisplayName(), ErrUnequal)
}

func (v *Prover) ends(ctx context.Context, b *window.Batch) (src, dst machine.Leaf, err error) {
	if src, err = v.leaves.Open(ctx, b.Pair.Src); err != nil {
		return nil, nil, err
	}
	dst, err = v.leaves.Open(ctx, b.Pair.Dst)
	return src, dst, err
}

// untried adds the moves that were not issued, because the first one failed, to
// what has to be done again.
func untried(result copydomain.Result, rest []copydomain.Move) copydomain.Result {
	if len(result.Redo) == 0 {
		return result
	}
	first := result.Redo[0]
	for _, m := range rest {
		result.Redo = append(result.Redo, copydomain.Redo{Move: m, Reason: first.Reason, Err: first.Err, Action: first.Action})
	}
	return result
}

// cut is a sample of the moves: whole blocks, from about the given sector of all of
// them on.
func cut(moves []copydomain.Move, at remap.Sector, block int) copydomain.Move {
	unit := remap.Sector(block / remap.SectorSize)
	for _, m := range moves {
		if at >= m.Len {
			at -= m.Len
			continue
		}
		at -= at % unit
		return part(m, at, min(m.Len-at, max(proofBytes/remap.SectorSize, unit)))
	}
	return copydomain.Move{}
}

// take takes a sample out of the moves.
func take(moves []copydomain.Move, sample copydomain.Move) (rest []copydomain.Move) {
	for _, m := range moves {
		before := sample.Dst - m.Dst
		if before < 0 || before >= m.Len {
			rest = append(rest, m)
			continue
		}
		rest = appendMove(rest, part(m, 0, before))
		rest = appendMove(rest, part(m, before+sample.Len, m.Len-before-sample.Len))
	}
	return rest
}

func part(m copydomain.Move, off, n remap.Sector) copydomain.Move {
	return copydomain.Move{Src: m.Src + off, Dst: m.Dst + off, Len: n}
}

func appendMove(moves []copydomain.Move, m copydomain.Move) []copydomain.Move {
	if m.Len == 0 {
		return moves
	}
	return append(moves, m)
}

// same compares a run at both leaves.
func (v *Prover) same(ctx context.Context, src, dst machine.Leaf, m copydomain.Move) (bool, error) {
	op := emulation.Op{Src: m.Src.Bytes(), Dst: m.Dst.Bytes(), Len: m.Len.Bytes()}
	v.account.Count(account.ReadBack, 2*op.Len)
	found, err := v.engine.Compare(ctx, src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
	if err != nil {
		return false, err
	}
	if err := hostcopy.Lost(found.Failures); err != nil {
		return false, err
	}
	return len(found.Mismatches) == 0, nil
}

// pointer tells where on the destination a sample begins, and where the next write to
// its zone has to.
func (v *Prover) pointer(b *window.Batch, sample copydomain.Move) (at, pointer int64, err error) {
	at = b.At(sample.Dst.Bytes(), sample.Len.Bytes())[0].DstOff
	pointer, sequential, err := v.zones.Pointer(at)
	if err == nil && !sequential {
		err = ErrInconclusive
	}
	return at, pointer, err
}
