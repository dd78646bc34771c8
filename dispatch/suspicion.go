package dispatch

import (
	"context"

	"github.com/dmcopy/dmcopy/remap"
)

// suspicion is an error unless it turns out that the destination lies where it
// did: a multipath device that takes another path has changed, and what was
// written through the path before is in its place.
type suspicion struct {
	err  error
	lost error // of the hold
}

func (s *suspicion) Error() string { return s.err.Error() }

// Unwrap gives access to sentinels and errnos.
func (s *suspicion) Unwrap() error { return s.err }

// stillThere tells whether all that the steps have written lies where it was
// written, on the same disks by whatever path. While a hold is on no table is
// swapped, so that it lay there all the time. The hold has been released: finding
// out can be I/O.
func (r *run) stillThere(ctx context.Context, steps map[pairKey][]Step) bool {
	now, err := r.settle(ctx)
	if err != nil {
		return false
	}
	for _, some := range steps {
		for _, s := range some {
			if !now.holdsStep(&s) {
				return false
			}
		}
	}
	return true
}

// holdsStep tells whether a step writes where the destination lies.
func (p *plan) holdsStep(s *Step) bool {
	to := remap.Range{Dev: p.dst.Dev, Start: sectors(s.DstOff), Len: sectors(s.Len)}
	for e, err := range p.stack.Resolve(remap.Write, to) {
		if err != nil || e.Kind != remap.Data && e.Kind != remap.Cipher {
			return false
		}
		at := sectors(s.DstLeafOff) + e.Start - to.Start
		if e.Leg.Start != at || !sameDisk(p.stack.Node(e.Leg.Dev), s.DstLeaf) {
			return false
		}
	}
	return true
}

// sameDisk tells whether two leaves are one, or paths to one.
func sameDisk(a, b *remap.Node) bool {
	return a.Dev == b.Dev && a.Print == b.Print || isPath(a) && isPath(b) && a.Leaf.Identity == b.Leaf.Identity && a.Size == b.Size
}

// isPath tells whether a leaf may be one of several paths to its disk. Commands are
// sent only where nothing else has the name of the disk ([copydomain.ReasonDuplicate]);
// paths to an NVMe namespace are behind one leaf.
func isPath(n *remap.Node) bool {
	return n.Leaf != nil && n.Leaf.Driver == "scsi" && n.Leaf.Identity != ""
}

// diskOf names the disk that a leaf is, or is a path to.
func diskOf(n *remap.Node) string {
	if isPath(n) {
		return n.Leaf.Identity
	}
	return n.Dev.String()
}
