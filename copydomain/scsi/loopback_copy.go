package scsi

import (
	"bytes"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// How a Loopback copies.

// plan is a copy whose logical units have been found.
type plan struct {
	src, dst *loopbackUnit
	pieces   []blocks.Piece
	chunk    uint64 // blocks
	block    uint64 // bytes
}

func (p *loopbackPort) copy(c *Command, f Fault) Completion {
	b := &p.target.behaviour
	list, err := DecodeList(Form(c.CDB[1]), c.Data)
	if err != nil {
		return b.sense(SenseCode{IllegalRequest, 0x26, 0x00})
	}
	plan, refused := p.prepare(list)
	switch {
	case refused != nil:
		return *refused
	case f.Silent:
		return Completion{}
	case f.Swap:
		plan.swap()
		return Completion{}
	}
	limit := ^uint64(0)
	failing := f.Completion.Err() != nil
	if failing || f.Short {
		limit = f.At
	}
	if !plan.run(limit) {
		return b.sense(SenseCode{CopyAborted, 0x0D, 0x02})
	}
	if failing && f.Junk {
		plan.junk(limit)
	}
	return f.Completion
}

// prepare is what LIO looks at before it begins, in its order.
func (p *loopbackPort) prepare(list *List) (*plan, *Completion) {
	b := &p.target.behaviour
	refuse := func(key SenseKey, asc, ascq uint8) (*plan, *Completion) {
		c := b.sense(SenseCode{key, asc, ascq})
		return nil, &c
	}
	descriptors := uint64(len(list.Units)*cscdSize + len(list.Segments)*segmentSize)
	switch {
	case b.ThirdPartyOff, list.Form == LID1 && !b.Short, list.Form == LID4 && !b.Long:
		return refuse(IllegalRequest, 0x20, 0x00)
	case descriptors > uint64(b.Parameters.ListBytes):
		return refuse(IllegalRequest, 0x1A, 0x00)
	case len(list.Units) > int(b.Parameters.Descriptors):
		return refuse(IllegalRequest, 0x26, 0x06)
	case len(list.Segments) > int(b.segments()):
		return refuse(IllegalRequest, 0x26, 0x08)
	case b.NoListID && list.ListID != 0:
		return refuse(IllegalRequest, 0x26, 0x00)
	}
	units, sense := p.resolve(list.Units)
	if sense != nil {
		return refuse(sense.Key, sense.ASC, sense.ASCQ)
	}
	s := list.Segments[0] // all of ours have the same ends
	src, dst := units[s.Src], units[s.Dst]
	l := p.target
	l.mu.Lock()
	defer l.mu.Unlock()
	size := dst.Capacity.BlockSize
	switch {
	case src.Capacity.BlockSize != size:
		return refuse(NotReady, 0x08, 0x00)
	case src.Reserved || dst.Reserved:
		c := b.aborted(Forwarded{Status: ReservationConflict})
		return nil, &c
	}
	made := &plan{src: src, dst: dst, block: uint64(size), chunk: max(b.ChunkBytes/uint64(size), 1)}
	for _, s := range list.Segments {
		if s.Blocks > uint64(b.segmentBlocks()) {
			return refuse(IllegalRequest, 0x26, 0x00)
		}
		if b.Granular && s.Blocks*uint64(size)%b.Parameters.Granularity != 0 {
			return refuse(IllegalRequest, 0x26, 0x0D)
		}
		made.pieces = append(made.pieces, s.Piece)
	}
	return made, nil
}

func (b *Behaviour) segments() uint16 {
	if b.EnforcedSegments != 0 {
		return b.EnforcedSegments
	}
	return b.Parameters.Segments
}

func (b *Behaviour) segmentBlocks() uint32 {
	if b.EnforcedSegmentBlocks != 0 {
		return b.EnforcedSegmentBlocks
	}
	return maxSegmentBlocks
}

// resolve finds the units that a list names: itself before others.
func (p *loopbackPort) resolve(named []Unit) ([]*loopbackUnit, *SenseCode) {
	l := p.target
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.units[p.number]
	var found []*loopbackUnit
	local := false
	for _, u := range named {
		d := u.Designator
		if !l.behaviour.AnyName && d.rank() != 4 {
			return nil, &SenseCode{IllegalRequest, 0x26, 0x00}
		}
		unit := own
		if _, mine := share([]Designator{d}, own.Designators); !mine {
			unit = l.find(d)
		}
		if unit == nil || unit != own && l.behaviour.SameUnitOnly {
			return nil, &SenseCode{CopyAborted, 0x0D, 0x02}
		}
		if l.behaviour.CheckLength && u.BlockSize != unit.Capacity.BlockSize {
			return nil, &SenseCode{IllegalRequest, 0x26, 0x00}
		}
		local = local || unit == own
		found = append(found, unit)
	}
	if !local {
		return nil, &SenseCode{IllegalRequest, 0x26, 0x00}
	}
	return found, nil
}

// find returns the first unit of that name.
func (l *Loopback) find(d Designator) *loopbackUnit {
	for _, u := range l.units {
		if _, ok := share([]Designator{d}, u.Designators); ok {
			return u
		}
	}
	return nil
}

// run copies the first limit blocks of the command, and fails when it gets to the
// end of a unit.
func (p *plan) run(limit uint64) bool {
	for _, piece := range p.pieces {
		for piece.Blocks > 0 && limit > 0 {
			n := min(piece.Blocks, p.chunk, limit)
			if !p.move(piece.SrcLBA, piece.DstLBA, n, func(b []byte) []byte { return b }) {
				return false
			}
			piece = piece.From(n)
			limit -= n
		}
	}
	return true
}

// junk scrambles the block behind the first limit blocks, if there is one.
func (p *plan) junk(limit uint64) {
	for _, piece := range p.pieces {
		if limit < piece.Blocks {
			p.move(piece.SrcLBA+limit, piece.DstLBA+limit, 1, func(b []byte) []byte {
				for i := range b {
					b[i] = ^b[i]
				}
				return b
			})
			return
		}
		limit -= piece.Blocks
	}
}

// swap copies with every two blocks exchanged. A single block comes reversed.
func (p *plan) swap() {
	for _, piece := range p.pieces {
		for i := uint64(0); i < piece.Blocks; i += 2 {
			p.move(piece.SrcLBA+i, piece.DstLBA+i, min(2, piece.Blocks-i), func(b []byte) []byte {
				half := len(b) / 2
				return append(bytes.Clone(b[half:]), b[:half]...)
			})
		}
	}
}

// move reads some blocks and writes what edit makes of them.
func (p *plan) move(src, dst, blocks uint64, edit func([]byte) []byte) bool {
	if !p.src.contains(src, blocks) || !p.dst.contains(dst, blocks) {
		return false
	}
	b := make([]byte, blocks*p.block)
	p.src.io.Lock()
	_, err := p.src.Backing.ReadAt(b, int64(src*p.block))
	p.src.io.Unlock()
	if err != nil {
		return false
	}
	p.dst.io.Lock()
	defer p.dst.io.Unlock()
	_, err = p.dst.Backing.WriteAt(edit(b), int64(dst*p.block))
	return err == nil
}

func (u *loopbackUnit) contains(lba, blocks uint64) bool {
	return lba <= u.Capacity.Blocks && blocks <= u.Capacity.Blocks-lba
}
