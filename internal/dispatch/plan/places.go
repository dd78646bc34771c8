package plan

import (
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/remap"
)

// WritesInto tells whether a step writes where a stack has the destination.
func WritesInto(stack *remap.Stack, dst remap.Dev, s *Step) bool {
	to := remap.Range{Dev: dst, Start: remap.Sectors(s.DstOff), Len: remap.Sectors(s.Len)}
	for e, err := range stack.Resolve(remap.Write, to) {
		if err != nil || e.Kind != remap.Data && e.Kind != remap.Cipher {
			return false
		}
		at := remap.Sectors(s.DstLeafOff) + e.Start - to.Start
		if e.Leg.Start != at || !SameDisk(stack.Node(e.Leg.Dev), s.DstLeaf) {
			return false
		}
	}
	return true
}

// SameDisk tells whether two leaves are one, or paths to one.
func SameDisk(a, b *remap.Node) bool {
	return a.Dev == b.Dev && a.Print == b.Print || isPath(a) && isPath(b) && a.Leaf.Identity == b.Leaf.Identity && a.Size == b.Size
}

// isPath tells whether a leaf may be one of several paths to its disk. Commands are
// sent only where nothing else has the name of the disk ([copydomain.ReasonDuplicate]);
// paths to an NVMe namespace are behind one leaf.
func isPath(n *remap.Node) bool {
	return n.Leaf != nil && n.Leaf.Driver == "scsi" && n.Leaf.Identity != ""
}

// DiskOf names the disk that a leaf is, or is a path to.
func DiskOf(n *remap.Node) string {
	if isPath(n) {
		return n.Leaf.Identity
	}
	return n.Dev.String()
}

// Displaced lists the parts of a range that the destination does not have where it had them.
func Displaced(look *remap.Places, dst remap.Dev, g byterange.Range) (moved, whole []byterange.Range) {
	return parts(look.Displaced, dst, g, g.Dst)
}

// DisplacedSource lists the parts of a range that the source does not have where it had them.
func DisplacedSource(look *remap.Places, src remap.Dev, g byterange.Range) (moved, whole []byterange.Range) {
	return parts(look.Reread, src, g, g.Src)
}

// parts are those of a range, which begins at a byte of a device, that find lists.
func parts(find func(remap.Range) []remap.Displaced, dev remap.Dev, g byterange.Range, at int64) (moved, whole []byterange.Range) {
	first := at / remap.SectorSize
	last := (at + g.Len + remap.SectorSize - 1) / remap.SectorSize
	for _, d := range find(remap.Range{Dev: dev, Start: remap.Sector(first), Len: remap.Sector(last - first)}) {
		part := g.Part(max(d.Start.Bytes()-at, 0), min((d.Start+d.Len).Bytes()-at, g.Len))
		moved = byterange.Append(moved, part)
		if d.Relayered {
			whole = byterange.Append(whole, part)
		}
	}
	return moved, whole
}

// MovedSource returns the parts of an offloaded step whose source does not live
// any more where the step has read it, rounded out to blocks.
func (p *Plan) MovedSource(s Step) ([]Step, error) {
	var moved []Step
	from := remap.Range{Dev: p.src.Dev, Start: remap.Sectors(s.SrcOff), Len: remap.Sectors(s.Len)}
	for e, err := range p.Stack.Resolve(remap.Read, from) {
		if err != nil {
			return nil, err
		}
		off := e.Start.Bytes() - s.SrcOff
		if liesAt(&e, s.SrcLeaf.Dev, remap.Sectors(s.SrcLeafOff+off)) {
			continue
		}
		start := off - off%s.Block
		end := min(s.Len, off+e.Len.Bytes()+s.Block-1)
		part := s.Part(start, end-end%s.Block-start)
		moved = append(moved, Without([]Step{part}, moved[max(len(moved)-1, 0):])...)
	}
	return moved, nil
}

// liesAt tells whether an extent can be read at sector at of a leaf.
func liesAt(e *remap.Extent, leaf remap.Dev, at remap.Sector) bool {
	switch e.Kind {
	case remap.Data, remap.Cipher, remap.Opaque: // opaque is what lies in a file
		return e.Leg.Dev == leaf && e.Leg.Start == at
	case remap.Replica:
		for _, leg := range e.Legs {
			if leg.Readable && leg.Dev == leaf && leg.Start == at {
				return true
			}
		}
	}
	return false
}

// OfDestination tells whether one of the changes is of the destination.
func (p *Plan) OfDestination(changes []remap.Change) bool {
	return slices.ContainsFunc(changes, func(c remap.Change) bool {
		return slices.ContainsFunc(p.Layout.Under(p.Dst.Dev), func(n *remap.Node) bool { return n.Dev == c.Dev })
	})
}

// InTransition returns a device of the plan that is in transition, if any, and one that was
// not read as a whole only if no other is.
func (p *Plan) InTransition() (found *remap.Node) {
	if p.Layout == nil {
		return nil
	}
	for _, dev := range []remap.Dev{p.src.Dev, p.Dst.Dev} {
		for _, n := range p.Layout.Under(dev) {
			if n.Transition != "" && (found == nil || found.Unread) {
				found = n
			}
		}
	}
	return found
}

// zoned tells whether a leaf is known to have zones of any kind.
func zoned(leaf *remap.Node) bool {
	return leaf.Leaf != nil && leaf.Leaf.Zoned != "none" && leaf.Leaf.Zoned != ""
}
