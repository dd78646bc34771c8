package target

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// The two halves of a token copy.

// chunkBytes is the length of the reads and writes that a copy is made of.
const chunkBytes = 256 << 10

// list checks what parameter lists have in common: their lengths, and nothing in what is reserved. head is the length of
// the list before its range descriptors, the last two bytes of which say how long these are.
func list(c *Command, head int, reserved ...[2]int) ([]extent, *scsi.SenseCode) {
	b := c.Out
	if n := binary.BigEndian.Uint32(c.CDB[10:]); uint64(n) != uint64(len(b)) || len(b) < head {
		return nil, &listLength
	}
	for _, field := range append(reserved, [2]int{3, 4}, [2]int{head - 4, head - 2}) {
		for _, x := range b[field[0]:field[1]] {
			if x != 0 {
				return nil, &invalidList
			}
		}
	}
	length := int(binary.BigEndian.Uint16(b[head-2:]))
	if int(binary.BigEndian.Uint16(b)) != len(b)-2 || head+length != len(b) {
		return nil, &invalidList
	}
	ranges, ok := extents(b[head:])
	if !ok {
		return nil, &invalidList
	}
	return ranges, nil
}

// populate is POPULATE TOKEN. SBC-3, 5.12.
func (t *Target) populate(ctx context.Context, u *unit, c *Command, f Fault) Reply {
	limits, ok := t.limits()
	if !ok {
		return refuse(invalidOpcode)
	}
	ranges, bad := list(c, 16)
	if bad == nil {
		bad = u.checkExtents(ranges, limits)
	}
	if bad != nil {
		return refuse(*bad)
	}
	flags, kind, seconds := c.Out[2], binary.BigEndian.Uint32(c.Out[8:]), binary.BigEndian.Uint32(c.Out[4:])
	switch {
	case flags&^3 != 0, seconds > limits.MaxTimeout, flags&2 != 0 && kind != rodAccessUponReference, flags&2 == 0 && kind != 0:
		return refuse(invalidList)
	case seconds == 0:
		seconds = limits.DefaultTimeout
	}
	return t.begin(ctx, c, flags&1 != 0, f, func(ctx context.Context, op *operation) {
		if !pause(ctx, f.Work) {
			op.status = statusTerminated
			return
		}
		op.status, op.count = statusDone, total(ranges)
		if f.Short != 0 && f.Short < op.count {
			op.status, op.count = statusResidual, f.Short
			ranges = cut(ranges, 0, f.Short)
		}
		made := t.create(u, ranges, time.Duration(seconds)*time.Second)
		op.token = &made
	})
}

// writeUsing is WRITE USING TOKEN. SBC-3, 5.49.
func (t *Target) writeUsing(ctx context.Context, u *unit, c *Command, f Fault) Reply {
	limits, ok := t.limits()
	if !ok {
		return refuse(invalidOpcode)
	}
	ranges, bad := list(c, 536, [2]int{4, 8}, [2]int{528, 534})
	if bad == nil {
		bad = u.checkExtents(ranges, limits)
	}
	if bad == nil && c.Out[2]&^3 != 0 {
		bad = &invalidList
	}
	if bad != nil {
		return refuse(*bad)
	}
	w := writing{unit: u, to: ranges, blocks: total(ranges), offset: binary.BigEndian.Uint64(c.Out[8:]), fault: f}
	given := [tokenSize]byte(c.Out[16:528])
	if isZero(given) {
		return t.begin(ctx, c, c.Out[2]&1 != 0, f, w.run)
	}
	if w.from, bad = t.use(given); bad != nil {
		return refuse(*bad)
	}
	if w.from.unit.block != u.block || w.offset > w.from.blocks || w.blocks > w.from.blocks-w.offset {
		t.unuse(w.from, false)
		return refuse(invalidList)
	}
	remove := c.Out[2]&2 != 0
	return t.begin(ctx, c, c.Out[2]&1 != 0, f, func(ctx context.Context, op *operation) {
		w.run(ctx, op)
		t.unuse(w.from, remove && op.count == w.blocks)
	})
}

// writing is a WRITE USING TOKEN that is carried out.
type writing struct {
	unit   *unit
	to     []extent
	blocks uint64
	from   *token // nil: zeroes
	offset uint64
	fault  Fault
}

func (w *writing) run(ctx context.Context, op *operation) {
	if !pause(ctx, w.fault.Work) {
		op.status = statusTerminated
		return
	}
	limit := w.blocks
	op.status = statusDone
	switch short := w.fault.Short; {
	case short != 0 && short < limit:
		op.status, limit = statusResidual, short
	case w.from != nil && w.blocks < w.from.blocks:
		op.status = statusPartial
	}
	chunk := uint64(chunkBytes / w.unit.block)
	for op.count < limit {
		if ctx.Err() != nil {
			op.status = statusTerminated
			return
		}
		n := min(limit-op.count, chunk)
		if err := w.move(op.count, n); err != nil {
			op.fail(refuse(mediumUnreachable))
			return
		}
		op.count += n
	}
	if w.fault.Lie != 0 {
		op.count = w.fault.Lie
	}
}

// move copies n blocks that follow the first done ones.
func (w *writing) move(done, n uint64) error {
	data := make([]byte, n*uint64(w.unit.block))
	if w.from != nil {
		rest := data
		for _, e := range cut(w.from.ranges, w.offset+done, n) {
			part := rest[:e.blocks*uint64(w.unit.block)]
			if _, err := (locked{w.from.unit}).ReadAt(part, int64(e.lba*uint64(w.unit.block))); err != nil {
				return err
			}
			rest = rest[len(part):]
		}
	}
	w.fault.spoil(data)
	for _, e := range cut(w.to, done, n) {
		part := data[:e.blocks*uint64(w.unit.block)]
		if _, err := (locked{w.unit}).WriteAt(part, int64(e.lba*uint64(w.unit.block))); err != nil {
			return err
		}
		data = data[len(part):]
	}
	return nil
}
