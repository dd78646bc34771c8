package plan

import (
	"bytes"
	"context"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// Disks with one identity may be paths to one disk, or different disks with a duplicate
// identity: clones, or disks of a target that makes identities of too little. No command
// ever copies between them ([copydomain.ReasonDuplicate]). The host may copy between
// them if it does not overwrite what it has yet to read: that is certain where nothing
// overlaps, or once the disks were seen to hold different bytes in one place.

const (
	// comparedPlaces is in how many places, all over the disks, a difference is
	// looked for.
	comparedPlaces = 256
	// comparedBytes is how much is compared in each.
	comparedBytes = 64 << 10
)

// sameIdentity are the disks of the stack with the identity of n, n included; none
// if it has no identity.
func sameIdentity(st *remap.Stack, n *remap.Node) (all []*remap.Node) {
	if n.Leaf == nil || n.Leaf.Identity == "" {
		return nil
	}
	for _, other := range st.Nodes() {
		if other.Leaf != nil && other.Leaf.Identity == n.Leaf.Identity {
			all = append(all, other)
		}
	}
	return all
}

// proveDistinct looks for differences between the disks with the identity of dev. It
// tells whether it has found now that no two of them are one disk.
func (p surveyor) proveDistinct(ctx context.Context, dev remap.Dev) (bool, error) {
	all := sameIdentity(p.Stack, p.Stack.Node(dev))
	if p.trust.allDistinct(all) {
		return false, nil
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if p.trust.distinct(a, b) {
				continue
			}
			differ, err := p.differ(ctx, a, b)
			if ctx.Err() != nil {
				return false, failure.Interrupted(ctx)
			}
			if err != nil || !differ { // what cannot be read tells nothing
				return false, nil
			}
			p.trust.markDistinct(a, b)
		}
	}
	return true, nil
}

// differ tells whether two disks hold different bytes in one place. It never takes
// one disk for two.
func (p surveyor) differ(ctx context.Context, a, b *remap.Node) (bool, error) {
	one, err := p.machine.OpenLeaf(ctx, a)
	if err != nil {
		return false, err
	}
	defer one.Close()
	other, err := p.machine.OpenLeaf(ctx, b)
	if err != nil {
		return false, err
	}
	defer other.Close()
	looks, giveBack, err := fourBuffers(ctx)
	if err != nil {
		return false, err
	}
	defer giveBack()
	block := int64(max(one.BlockSize(), other.BlockSize()))
	size := min(one.Size(), other.Size()) &^ (block - 1)
	step := max(size/comparedPlaces&^(comparedBytes-1), comparedBytes)
	for off := int64(0); off < size && ctx.Err() == nil; off += step {
		found, err := differAt([2]machine.Leaf{one, other}, looks, off, min(comparedBytes, size-off))
		if found || err != nil {
			return found, err
		}
	}
	return false, ctx.Err()
}

func fourBuffers(ctx context.Context) (looks [4][]byte, giveBack func(), err error) {
	pool, err := blockio.NewPool(len(looks), comparedBytes)
	if err != nil {
		return looks, nil, err
	}
	var taken [][]byte
	giveBack = func() {
		for _, b := range taken {
			pool.Put(b)
		}
		pool.Close()
	}
	for i := range looks {
		if looks[i], err = pool.Get(ctx); err != nil {
			giveBack()
			return looks, nil, err
		}
		taken = append(taken, looks[i])
	}
	return looks, giveBack, nil
}

// differAt compares one place. Each disk is read twice, by turns: of one disk that
// is written to meanwhile a reading would have to differ from those before and after
// it, which are equal, twice in a row.
func differAt(sides [2]machine.Leaf, looks [4][]byte, off, n int64) (bool, error) {
	for i := range looks {
		looks[i] = looks[i][:n]
		if err := emulation.ReadWhole(sides[i%2], looks[i], off); err != nil {
			return false, err
		}
	}
	return bytes.Equal(looks[0], looks[2]) && bytes.Equal(looks[1], looks[3]) && !bytes.Equal(looks[0], looks[1]), nil
}
