package dispatch

import (
	"context"

	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
)

// stillThere tells whether all that the steps have written lies where it was written,
// on the same disks by whatever path: a multipath device that takes another path has
// changed, and so has a partition that was made longer. While a hold is on no table is
// swapped: what lies there now, if the hold is on still, lay there all the time. Who
// trusts has no such hold.
//
// Reading a stack can be I/O, to devices that a swap keeps suspended that waits for
// this hold: then the hold ends by itself ([hold.ErrLost]), and the answer is no.
func (r *run) stillThere(ctx context.Context, held hold.Held, steps map[pairKey][]Step) bool {
	if r.opts.Hold != hold.Auto {
		return false
	}
	now, err := r.d.machine.Stack(context.WithoutCancel(ctx), r.job.Dst.Dev)
	if err != nil {
		return false
	}
	for _, some := range steps {
		for _, s := range some {
			if !writesInto(now, r.job.Dst.Dev, &s) {
				return false
			}
		}
	}
	return held.Check() == nil
}

// writesInto tells whether a step writes where a stack has the destination.
func writesInto(stack *remap.Stack, dst remap.Dev, s *Step) bool {
	to := remap.Range{Dev: dst, Start: sectors(s.DstOff), Len: sectors(s.Len)}
	for e, err := range stack.Resolve(remap.Write, to) {
		if err != nil || e.Kind != remap.Data && e.Kind != remap.Cipher {
			return false
		}
		at := sectors(s.DstLeafOff) + e.Start - to.Start
		if e.Leg.Start != at || !sameDisk(stack.Node(e.Leg.Dev), s.DstLeaf) {
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
