package dispatch

import (
	"context"
	"strings"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/remap"
)

// A regular file takes part in a plan as a device of its own that is stored in the
// file from byte 0 on, like a loop device: what planning, windows and proofs know of
// devices holds for it as well. Nothing can move its bytes while it is open.

// Numbers of what stands for the files of a job. No block device has major 0
// (Documentation/admin-guide/devices.txt).
var (
	srcFile = remap.Dev{Major: 0, Minor: 1}
	dstFile = remap.Dev{Major: 0, Minor: 2}
)

// standsIn tells whether a device stands for a file.
func standsIn(dev remap.Dev) bool { return dev == srcFile || dev == dstFile }

// withFiles gives the files of a job their numbers.
func (j Job) withFiles() Job {
	if j.Src.File != nil {
		j.Src.Dev = srcFile
	}
	if j.Dst.File != nil {
		j.Dst.Dev = dstFile
		if j.Src.File != nil && j.Src.File.ID == j.Dst.File.ID {
			j.Dst.Dev = srcFile
		}
	}
	return j
}

// fileNode is what stands for the file of an end.
func (e Endpoint) fileNode() *remap.Node {
	return &remap.Node{
		Dev: e.Dev, Name: e.Name, Path: e.File.Name, Size: sectors(e.Device.Size()), BlockSize: remap.SectorSize,
		Layer: remap.OpaqueLayer{Layer: "file", Reason: ReasonFile}, Storage: e.File,
	}
}

// inFile tells whether all of an end lies in a file: such an end has something to do
// with a file at the other end. Of other devices nothing has to be known for it.
func (e Endpoint) inFile() bool { return e.File != nil || strings.HasPrefix(e.storage, "file:") }

// layOut takes a snapshot of both ends: of the devices, for comparing, and with the
// files among them, for resolving. The second is nil where an end cannot be resolved.
func (p *plan) layOut(ctx context.Context) error {
	if p.src.Dev.IsZero() || p.dst.Dev.IsZero() {
		return nil
	}
	var devs []remap.Dev
	nodes := make(map[remap.Dev]*remap.Node)
	for _, end := range []Endpoint{p.src, p.dst} {
		if end.File != nil {
			nodes[end.Dev] = end.fileNode()
			continue
		}
		devs = append(devs, end.Dev)
	}
	var all []*remap.Node
	if len(devs) > 0 {
		layout, err := p.machine.Stack(ctx, devs...)
		if err != nil || len(nodes) == 0 {
			p.layout, p.stack = layout, layout
			return err
		}
		p.layout, all = layout, append(all, layout.Nodes()...)
	}
	for _, n := range nodes {
		all = append(all, n)
	}
	stack, err := remap.New(all)
	p.stack = stack
	return err
}

// mixed tells whether one end is a file and the other one has nothing to do with files:
// what is resolved of it is where it reads as zeroes, and where it moves to.
func (p *plan) mixed() bool {
	return (p.src.File != nil || p.dst.File != nil) && !(p.src.inFile() && p.dst.inFile())
}

// changes tells what of the devices is not as it was planned with.
func (p *plan) changes(ctx context.Context) ([]remap.Change, error) {
	if p.layout == nil {
		return nil, nil
	}
	return p.machine.Changes(ctx, p.layout)
}

// inSectors cuts ranges of files, which begin and end where they like, such that all
// but the ends of each are whole sectors.
func (j Job) inSectors() []Range {
	if j.Src.File == nil && j.Dst.File == nil {
		return j.Ranges
	}
	var cut []Range
	for _, r := range j.Ranges {
		head := (remap.SectorSize - r.Src%remap.SectorSize) % remap.SectorSize
		if (r.Src-r.Dst)%remap.SectorSize != 0 || r.Len <= head {
			cut = append(cut, r)
			continue
		}
		tail := (r.Len - head) % remap.SectorSize
		at := int64(0)
		for _, n := range []int64{head, r.Len - head - tail, tail} {
			if n > 0 {
				cut = append(cut, Range{r.Src + at, r.Dst + at, n})
			}
			at += n
		}
	}
	return cut
}

// ragged tells why a range of files that is not made of sectors is not offloaded:
// because of that, if the files could be.
func (p *plan) ragged(ctx context.Context) remap.Reason {
	src, dst := p.stack.Node(p.src.Dev), p.stack.Node(p.dst.Dev)
	if !copydomain.InFile(src) || !copydomain.InFile(dst) {
		return ReasonAlignment
	}
	if pair := p.pairOf(ctx, src, dst); pair.Method == "" {
		return pair.Reason
	}
	return ReasonAlignment
}

// stored tells whether both ends of a piece lie in files.
func (p *plan) stored(src, dst *remap.Extent) bool { return p.storedExtent(src) && p.storedExtent(dst) }

func (p *plan) storedExtent(e *remap.Extent) bool {
	return e.Kind == remap.Opaque && (e.Reason == ReasonFile || e.Reason == ReasonLoop) && copydomain.InFile(p.stack.Node(e.Leg.Dev))
}

// loose tells whether a step writes into the file of a loop device. Where that
// begins in its file can be changed while it is open (drivers/block/loop.c,
// loop_set_status), and no I/O that is held back keeps it: the throttle stands above
// the queue of the device, of which the change waits for what is in it.
func loose(s *Step) bool { return s.DstLeaf.Mutable }

// fileLeaf is an end that is a file, for reading back.
type fileLeaf struct{ emulation.Device }

// Close implements [Leaf]: the end is closed by whoever opened it.
func (fileLeaf) Close() error { return nil }
