package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// Where a sample of a proof is equal on both sides, one block of the destination is
// marked: its bytes are inverted, so that only a copy of the source makes them what they
// have to be. The block is in the window that is copied next, and overwritten anyway.
//
// A mark is written through the top of the destination and before the layout is held:
// the kernel maps it like any other write, so that it cannot get into anything else
// whatever happens to the layout. Nothing that is marked counts as done, since the
// window does not. A copy that ends before it has overwritten a mark takes it back; one
// that is killed leaves it, in what it has not copied.

// marked is a block of the destination that was equal to the source and is not any more.
type marked struct {
	off int64 // bytes, on the destination
	was []byte
}

var errNoMark = errors.New("the sample holds no whole block of the destination")

// mark inverts the last block of the sample: there, a command that stops short shows.
func (v *Prover) mark(ctx context.Context, b *window.Batch, sample copydomain.Move) error {
	dst := v.dst.Device
	unit := int64(max(dst.BlockSize(), remap.SectorSize))
	s := b.At(sample.Dst.Bytes(), sample.Len.Bytes())[0] // it is cut of one step
	off := (s.DstOff+s.Len)&^(unit-1) - unit
	if off < s.DstOff {
		return errNoMark
	}
	return v.withBlock(ctx, int(unit), func(p []byte) error {
		v.account.Count(account.ReadBack, unit)
		if err := emulation.ReadWhole(dst, p, off); err != nil {
			return err
		}
		v.marks = append(v.marks, marked{off, slices.Clone(p)})
		for i := range p {
			p[i] = ^p[i]
		}
		return emulation.WriteWhole(dst, p, off)
	})
}

// Overwritten forgets the marks that a window, which is done, has overwritten.
func (v *Prover) Overwritten(w *window.Window) {
	v.marks = slices.DeleteFunc(v.marks, func(m marked) bool {
		last := m.off + int64(len(m.was)) - 1 // windows are done in order
		return slices.ContainsFunc(w.Steps, func(s plan.Step) bool { return s.DstOff <= last && last < s.DstOff+s.Len }) &&
			!slices.ContainsFunc(w.Unbegun, func(g byterange.Range) bool { return g.Dst <= last && m.off < g.Dst+g.Len })
	})
}

// Unmark takes back what a copy that has ended has marked and not overwritten. A
// destination that is in transition, as changes tells, is not waited for, and one where a
// command may still be writing is not touched.
func (v *Prover) Unmark(ctx context.Context, changes func(context.Context) ([]remap.Change, error), ended error) {
	if len(v.marks) == 0 {
		return
	}
	err := ended
	if !errors.Is(ended, failure.ErrFenced) {
		err = v.unmarkAll(ctx, changes)
	}
	if err != nil {
		m := v.marks[0]
		v.log.Warn("a block of the destination that was marked for a proof is left as it is, to be copied",
			"offset", m.off, "bytes", len(m.was), "marks", len(v.marks), "error", err)
	}
}

func (v *Prover) unmarkAll(ctx context.Context, changes func(context.Context) ([]remap.Change, error)) error {
	changed, err := changes(ctx)
	if err == nil && len(changed) > len(remap.Moved(changed)) {
		err = fmt.Errorf("%v", changed)
	}
	for err == nil && len(v.marks) > 0 {
		m := v.marks[0]
		err = v.withBlock(ctx, len(m.was), func(p []byte) error {
			copy(p, m.was)
			return emulation.WriteWhole(v.dst.Device, p, m.off)
		})
		if err == nil {
			v.marks = v.marks[1:]
		}
	}
	return err
}

// withBlock lends memory for direct I/O.
func (v *Prover) withBlock(ctx context.Context, size int, use func(p []byte) error) (err error) {
	pool, err := blockio.NewPool(1, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	buffer, err := pool.Get(ctx)
	if err != nil {
		return err
	}
	defer pool.Put(buffer)
	return use(buffer[:size])
}
