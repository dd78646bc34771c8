package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
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
func (r *run) mark(ctx context.Context, b *batch, sample copydomain.Move) error {
	dst := r.job.Dst.Device
	unit := int64(max(dst.BlockSize(), remap.SectorSize))
	s := b.at(sample.Dst.Bytes(), sample.Len.Bytes())[0] // it is cut of one step
	off := (s.DstOff+s.Len)&^(unit-1) - unit
	if off < s.DstOff {
		return errNoMark
	}
	return r.withBlock(ctx, int(unit), func(p []byte) error {
		r.counters.readBack.Add(unit)
		if err := readWhole(dst, p, off); err != nil {
			return err
		}
		r.marks = append(r.marks, marked{off, slices.Clone(p)})
		for i := range p {
			p[i] = ^p[i]
		}
		return writeWhole(dst, p, off)
	})
}

// overwritten forgets the marks that a window, which is done, has overwritten.
func (r *run) overwritten(w *window) {
	r.marks = slices.DeleteFunc(r.marks, func(m marked) bool {
		last := m.off + int64(len(m.was)) - 1 // windows are done in order
		return slices.ContainsFunc(w.steps, func(s Step) bool { return s.DstOff <= last && last < s.DstOff+s.Len }) &&
			!slices.ContainsFunc(w.unbegun, func(g Range) bool { return g.Dst <= last && m.off < g.Dst+g.Len })
	})
}

// unmark takes back what a copy that has ended has marked and not overwritten. A
// destination that is in transition is not waited for, and one where a command may still
// be writing is not touched.
func (r *run) unmark(ctx context.Context, ended error) {
	if len(r.marks) == 0 || r.left.Load() {
		return
	}
	err := ended
	if !errors.Is(ended, ErrFenced) {
		err = r.unmarkAll(ctx)
	}
	if err != nil {
		m := r.marks[0]
		r.log.Warn("a block of the destination that was marked for a proof is left as it is, to be copied",
			"offset", m.off, "bytes", len(m.was), "marks", len(r.marks), "error", err)
	}
}

func (r *run) unmarkAll(ctx context.Context) error {
	changed, err := r.plan.changes(ctx)
	if err == nil && len(changed) > len(remap.Moved(changed)) {
		err = fmt.Errorf("%v", changed)
	}
	for err == nil && len(r.marks) > 0 {
		m := r.marks[0]
		err = r.withBlock(ctx, len(m.was), func(p []byte) error {
			copy(p, m.was)
			return writeWhole(r.job.Dst.Device, p, m.off)
		})
		if err == nil {
			r.marks = r.marks[1:]
		}
	}
	return err
}

func writeWhole(d emulation.Device, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := d.WriteAt(p, off)
		if err != nil {
			return err
		}
		if n <= 0 {
			return fmt.Errorf("%s: nothing is written at byte %d", d.Name(), off)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// withBlock lends memory for direct I/O.
func (r *run) withBlock(ctx context.Context, size int, use func(p []byte) error) (err error) {
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
