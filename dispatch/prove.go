package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
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

// ReasonUnproven: nothing tells whether the pair copies what it says.
const ReasonUnproven remap.Reason = "domain:unproven"

// proof is how far a run can trust a pair of leaves.
type proof struct {
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

// choose picks the samples of a window, before the layout is held, and takes out the
// steps of pairs that nothing would tell of.
func (r *run) choose(ctx context.Context, steps map[pairKey][]Step) (untold []Step, err error) {
	for key, some := range steps {
		p := r.proofs[key]
		if p == nil {
			p = &proof{}
			r.proofs[key] = p
		}
		p.sample = copydomain.Move{}
		if p.sure {
			continue
		}
		err := r.pick(ctx, p, newBatch(some, nil))
		if ctx.Err() != nil {
			return nil, interrupted(ctx)
		}
		if p.proven || err == nil {
			continue
		}
		r.log.Info("copy offload cannot be proven here", "pair", some[0].pair.Domain, "error", err)
		untold = append(untold, allToHost(map[pairKey][]Step{key: some}, ReasonUnproven)...)
		delete(steps, key)
		if p.tries++; p.tries == proofTries {
			r.poisoned[key] = ReasonUnproven
		}
	}
	return untold, nil
}

var errNoSample = errors.New("no sample of the window can be read")

// pick chooses a sample, and sees to it that source and destination differ there.
func (r *run) pick(ctx context.Context, p *proof, b *batch) error {
	src, dst, err := r.ends(ctx, b)
	if err != nil {
		return err
	}
	sample, unlike, err := r.look(ctx, src, b)
	if err != nil {
		return err
	}
	if p.proven && !unlike {
		p.looks++
		p.sure = p.looks == proofLooks
		return nil
	}
	if r.zones.zoner == nil {
		equal, err := r.same(ctx, src, dst, sample)
		if err == nil && equal {
			err = r.mark(ctx, b, sample)
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
func (r *run) look(ctx context.Context, src Leaf, b *batch) (sample copydomain.Move, unlike bool, err error) {
	pool, err := blockio.NewPool(1, max(lookBytes, b.pair.Block))
	if err != nil {
		return sample, false, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	buffer, err := pool.Get(ctx)
	if err != nil {
		return sample, false, err
	}
	defer pool.Put(buffer)
	moves := b.moves()
	var total remap.Sector
	for _, m := range moves {
		total += m.Len
	}
	places := remap.Sector(proofPlaces)
	if r.zones.zoner != nil {
		places = 1 // a zone is written from where it ends
	}
	for i := range places {
		candidate := cut(moves, i*total/proofPlaces, b.pair.Block)
		p := buffer[:min(int64(len(buffer)), candidate.Len.Bytes())]
		r.counters.readBack.Add(int64(len(p)))
		if readWhole(src, p, candidate.Src.Bytes()) != nil {
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

// trial is what came of proving a pair.
type trial struct {
	result copydomain.Result
	rest   []copydomain.Move // not yet issued
	// failed is why the pair cannot be trusted; errUntold if nothing could tell.
	failed error
}

// prove copies the sample of the window and reads it back at both leaves. An error
// ends the copy: the copier refuses the moves.
func (r *run) prove(ctx context.Context, st *pairState, p *proof, b *batch, moves []copydomain.Move) (trial, error) {
	rest := take(moves, p.sample)
	src, dst, err := r.ends(ctx, b)
	if err == nil {
		err = r.differs(ctx, src, dst, b, p.sample)
	}
	if err != nil {
		return trial{failed: err}, nil
	}
	result, err := st.copier.Copy(ctx, []copydomain.Move{p.sample})
	if err != nil {
		return trial{}, err
	}
	if len(result.Redo)+len(result.Fenced) > 0 {
		// The device has told that it did not copy: that is honest, and
		// accounted for like any other failure.
		return trial{result: untried(result, rest)}, nil
	}
	equal, err := r.same(ctx, src, dst, p.sample)
	if err == nil && equal {
		equal, err = r.passedBy(b, p.sample)
	}
	switch {
	case err != nil:
		return trial{result: result, failed: err}, nil
	case !equal:
		return trial{result: result, failed: unequal(p.sample, b)}, nil
	}
	p.proven, p.sure = true, p.sure || p.unlike
	return trial{result: result, rest: rest}, nil
}

// errUntold: copying the sample would prove nothing.
var errUntold = errors.New("source and destination are equal")

// differs fails where copying the sample would prove nothing. In a zone, something
// does whatever the bytes: the write pointer.
func (r *run) differs(ctx context.Context, src, dst Leaf, b *batch, sample copydomain.Move) error {
	if r.zones.zoner != nil {
		at, pointer, err := r.pointer(b, sample)
		if err == nil && pointer != at {
			err = errUntold
		}
		return err
	}
	equal, err := r.same(ctx, src, dst, sample)
	if err == nil && equal {
		err = errUntold
	}
	return err
}

// passedBy tells whether the write pointer of a zone has passed by the sample.
func (r *run) passedBy(b *batch, sample copydomain.Move) (bool, error) {
	if r.zones.zoner == nil {
		return true, nil
	}
	at, pointer, err := r.pointer(b, sample)
	return pointer == at+sample.Len.Bytes(), err
}

// pointer tells where on the destination a sample begins, and where the next write to
// its zone has to. The zones of a mapped device can be asked for under a hold: that does
// not wait for a suspended one (drivers/md/dm-zone.c, dm_blk_report_zones).
func (r *run) pointer(b *batch, sample copydomain.Move) (at, pointer int64, err error) {
	at = b.at(sample.Dst.Bytes(), sample.Len.Bytes())[0].DstOff
	found, err := r.zones.zoner.Zones(at, 1)
	if err != nil {
		return 0, 0, wrap("zones", err)
	}
	if !found[0].Sequential {
		return 0, 0, errUntold
	}
	return at, found[0].Pointer, nil
}

var errUnequal = errors.New("reported as copied and not equal to the source")

func unequal(m copydomain.Move, b *batch) error {
	return fmt.Errorf("%d sectors at sector %d of %s: %w", m.Len, m.Dst, b.pair.Dst.DisplayName(), errUnequal)
}

func (r *run) ends(ctx context.Context, b *batch) (src, dst Leaf, err error) {
	if src, err = r.leaf(ctx, b.pair.Src); err != nil {
		return nil, nil, err
	}
	dst, err = r.leaf(ctx, b.pair.Dst)
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
		result.Redo = append(result.Redo, copydomain.Redo{Move: m, Reason: first.Reason, Err: first.Err, Verdict: first.Verdict})
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
func (r *run) same(ctx context.Context, src, dst Leaf, m copydomain.Move) (bool, error) {
	op := emulation.Op{Src: m.Src.Bytes(), Dst: m.Dst.Bytes(), Len: m.Len.Bytes()}
	r.counters.readBack.Add(2 * op.Len)
	found, err := r.engine.Compare(ctx, src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
	if err != nil {
		return false, err
	}
	if err := lost(found.Failures); err != nil {
		return false, err
	}
	return len(found.Mismatches) == 0, nil
}

// leaf opens a leaf for reading, once. Pairs are proven side by side.
func (r *run) leaf(ctx context.Context, n *remap.Node) (Leaf, error) {
	r.leafMu.Lock()
	defer r.leafMu.Unlock()
	if l := r.leaves[n.Dev]; l != nil {
		return l, nil
	}
	for _, end := range []Endpoint{r.job.Src, r.job.Dst} {
		if end.File != nil && end.Dev == n.Dev {
			return fileLeaf{end.Device}, nil
		}
	}
	l, err := r.d.machine.OpenLeaf(ctx, n)
	if err == nil {
		r.leaves[n.Dev] = l
	}
	return l, err
}
