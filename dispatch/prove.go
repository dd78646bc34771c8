package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// A pair is trusted once a command of it was seen to do what it said. The
// proof is made at the leaves, because while a hold is on nothing may wait for
// I/O through a mapped device. Copying equal bytes proves nothing: where all that
// was looked at is equal beforehand, the whole window is read back, and the next
// one has to prove the pair again.

const (
	// proofBytes is how much a proof copies and reads back.
	proofBytes = 128 << 10
	// proofTries is how many places of a window are looked at for one where
	// source and destination differ.
	proofTries = 8
)

// proof is what came of proving a pair.
type proof struct {
	result copydomain.Result
	rest   []copydomain.Move // not yet issued
	// failed is why the pair cannot be trusted.
	failed error
}

// prove copies a small part of the moves and reads it back at both leaves. An
// error ends the copy: the copier refuses the moves.
func (r *run) prove(ctx context.Context, st *pairState, b *batch, moves []copydomain.Move) (proof, error) {
	src, dst, err := r.ends(ctx, b)
	if err != nil {
		return proof{failed: err}, nil
	}
	sample, rest, telling, err := r.choose(ctx, src, dst, b, moves)
	if err != nil {
		return proof{failed: err}, nil
	}
	result, err := st.copier.Copy(ctx, []copydomain.Move{sample})
	if err != nil {
		return proof{}, err
	}
	if len(result.Redo)+len(result.Fenced) > 0 {
		// The device has told that it did not copy: that is honest, and
		// accounted for like any other failure.
		return proof{result: untried(result, rest)}, nil
	}
	equal, err := r.same(ctx, src, dst, sample)
	switch {
	case err != nil:
		return proof{result: result, failed: err}, nil
	case !equal:
		return proof{result: result, failed: unequal(sample, b)}, nil
	}
	st.proven = telling
	return proof{result: result, rest: rest}, nil
}

var errUnequal = errors.New("reported as copied and not equal to the source")

func unequal(m copydomain.Move, b *batch) error {
	return fmt.Errorf("%d sectors at sector %d of %s: %w", m.Len, m.Dst, b.pair.Dst.DisplayName(), errUnequal)
}

// confirm reads back everything that was copied for a pair that could not be
// proven, because source and destination were equal wherever it was looked.
func (r *run) confirm(ctx context.Context, b *batch) error {
	src, dst, err := r.ends(ctx, b)
	if err != nil {
		return err
	}
	for _, m := range b.moves() {
		equal, err := r.same(ctx, src, dst, m)
		if err != nil {
			return err
		}
		if !equal {
			return unequal(m, b)
		}
	}
	return nil
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

// choose picks a sample that differs, if it finds one, and takes it out of the
// moves.
func (r *run) choose(ctx context.Context, src, dst Leaf, b *batch, moves []copydomain.Move) (sample copydomain.Move, rest []copydomain.Move, telling bool, err error) {
	var total remap.Sector
	for _, m := range moves {
		total += m.Len
	}
	tries := remap.Sector(proofTries)
	if zoned(b.pair.Dst) {
		tries = 1 // a zone is written from where it ends
	}
	for i := range tries {
		candidate, without := cut(moves, i*total/proofTries, b.pair.Block)
		equal, err := r.same(ctx, src, dst, candidate)
		if err != nil {
			return sample, nil, false, err
		}
		if !equal {
			return candidate, without, true, nil
		}
		if i == 0 {
			sample, rest = candidate, without
		}
	}
	return sample, rest, false, nil
}

// cut takes a sample out of the moves: whole blocks, from about the given
// sector of all of them on.
func cut(moves []copydomain.Move, at remap.Sector, block int) (sample copydomain.Move, rest []copydomain.Move) {
	unit := remap.Sector(block / remap.SectorSize)
	for i, m := range moves {
		if at >= m.Len {
			at -= m.Len
			continue
		}
		at -= at % unit
		n := min(m.Len-at, max(proofBytes/remap.SectorSize, unit))
		rest = append(rest, moves[:i]...)
		rest = appendMove(rest, part(m, 0, at))
		rest = appendMove(rest, part(m, at+n, m.Len-at-n))
		return part(m, at, n), append(rest, moves[i+1:]...)
	}
	return copydomain.Move{}, moves
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
