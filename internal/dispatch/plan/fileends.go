package plan

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/remap"
)

// A regular file takes part in a plan as a device of its own that is stored in the
// file from byte 0 on, like a loop device: what planning, windows and proofs know of
// devices holds for it as well. Nothing can move its bytes while it is open.

// Numbers of what stands for the files of a job. No block device has major 0
// (Documentation/admin-guide/devices.txt).
var (
	SrcFile = remap.Dev{Major: 0, Minor: 1}
	DstFile = remap.Dev{Major: 0, Minor: 2}
)

// IsFileDev tells whether a device stands for a file.
func IsFileDev(dev remap.Dev) bool { return dev == SrcFile || dev == DstFile }

// Numbered gives the ends that are files their numbers.
func Numbered(src, dst ends.Endpoint) (numberedSrc, numberedDst ends.Endpoint) {
	if src.File != nil {
		src.Dev = SrcFile
	}
	if dst.File != nil {
		dst.Dev = DstFile
		if src.File != nil && src.File.ID == dst.File.ID {
			dst.Dev = SrcFile
		}
	}
	return src, dst
}

// fileNode is what stands for the file of an end.
func fileNode(e ends.Endpoint) *remap.Node {
	return &remap.Node{
		Dev: e.Dev, Name: e.Name, Path: e.File.Name, Size: remap.Sectors(e.Device.Size()), BlockSize: remap.SectorSize,
		Layer: remap.OpaqueLayer{Layer: "file", Reason: ReasonFile}, Storage: e.File,
	}
}

// layOut takes a snapshot of both ends: of the devices, for comparing, and with the
// files among them, for resolving. The second is nil where an end cannot be resolved.
func (p *Plan) layOut(ctx context.Context) error {
	if p.src.Dev.IsZero() || p.Dst.Dev.IsZero() {
		return nil
	}
	var devs []remap.Dev
	nodes := make(map[remap.Dev]*remap.Node)
	for _, end := range []ends.Endpoint{p.src, p.Dst} {
		if end.File != nil {
			nodes[end.Dev] = fileNode(end)
			continue
		}
		devs = append(devs, end.Dev)
	}
	var all []*remap.Node
	if len(devs) > 0 {
		layout, err := p.machine.Stack(ctx, devs...)
		if err != nil || len(nodes) == 0 {
			p.Layout, p.Stack = layout, layout
			return err
		}
		p.Layout, all = layout, append(all, layout.Nodes()...)
	}
	for _, n := range nodes {
		all = append(all, n)
	}
	stack, err := remap.New(all)
	p.Stack = stack
	return err
}

// Mixed tells whether one end is a file and the other one has nothing to do with files:
// what is resolved of it is where it reads as zeroes, and where it moves to.
func (p *Plan) Mixed() bool {
	return (p.src.File != nil || p.Dst.File != nil) && !(p.src.InFile() && p.Dst.InFile())
}

// Changes tells what of the devices is not as it was planned with.
func (p *Plan) Changes(ctx context.Context) ([]remap.Change, error) {
	if p.Layout == nil {
		return nil, nil
	}
	return p.machine.Changes(ctx, p.Layout)
}

// InSectors cuts ranges of files, which begin and end where they like, such that all
// but the ends of each are whole sectors.
func InSectors(src, dst ends.Endpoint, ranges []byterange.Range) []byterange.Range {
	if src.File == nil && dst.File == nil {
		return ranges
	}
	var cut []byterange.Range
	for _, r := range ranges {
		head := (remap.SectorSize - r.Src%remap.SectorSize) % remap.SectorSize
		if (r.Src-r.Dst)%remap.SectorSize != 0 || r.Len <= head {
			cut = append(cut, r)
			continue
		}
		tail := (r.Len - head) % remap.SectorSize
		at := int64(0)
		for _, n := range []int64{head, r.Len - head - tail, tail} {
			if n > 0 {
				cut = append(cut, byterange.Range{Src: r.Src + at, Dst: r.Dst + at, Len: n})
			}
			at += n
		}
	}
	return cut
}

// whyUnaligned tells why a range of files that is not made of sectors is not offloaded:
// because of that, if the files could be.
func (p *Plan) whyUnaligned(ctx context.Context) remap.Reason {
	src, dst := p.Stack.Node(p.src.Dev), p.Stack.Node(p.Dst.Dev)
	if !copydomain.InFile(src) || !copydomain.InFile(dst) {
		return ReasonAlignment
	}
	if pair := p.pairOf(ctx, src, dst); pair.Method == "" {
		return pair.Reason
	}
	return ReasonAlignment
}

// stored tells whether both ends of a piece lie in files.
func stored(st *remap.Stack, src, dst *remap.Extent) bool {
	in := func(e *remap.Extent) bool {
		return e.Kind == remap.Opaque && (e.Reason == ReasonFile || e.Reason == ReasonLoop) && copydomain.InFile(st.Node(e.Leg.Dev))
	}
	return in(src) && in(dst)
}

// movableLoop tells whether a step writes into the file of a loop device. Where that
// begins in its file can be changed while it is open (drivers/block/loop.c,
// loop_set_status), and no I/O that is held back keeps it: the throttle stands above
// the queue of the device, of which the change waits for what is in it.
func movableLoop(s *Step) bool { return s.DstLeaf.Mutable }
