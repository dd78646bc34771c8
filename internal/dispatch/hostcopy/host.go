package hostcopy

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
)

// Host reads the source and writes the destination of one copy through the top.
type Host struct {
	engine   emulation.Engine
	src, dst ends.Endpoint
	onError  OnError
	account  *account.Account
	// explain tells what became of the devices, when I/O has failed.
	explain func(context.Context) error
	bad     []account.Bad // in the order that they were met
}

// New returns what copies through the host. When I/O has failed, explain tells what became
// of the devices meanwhile.
func New(engine emulation.Engine, src, dst ends.Endpoint, onError OnError, counts *account.Account, explain func(context.Context) error) *Host {
	return &Host{engine: engine, src: src, dst: dst, onError: onError, account: counts, explain: explain}
}

// Copy carries out the steps, in the order of the destination.
func (h *Host) Copy(ctx context.Context, steps []plan.Step) error {
	if len(steps) == 0 {
		return nil
	}
	slices.SortFunc(steps, func(a, b plan.Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	todo := slices.DeleteFunc(slices.Clone(steps), func(s plan.Step) bool { return s.Method == account.Skip })
	if err := h.move(ctx, todo); err != nil {
		return err
	}
	for _, s := range steps {
		if s.Method == account.Skip {
			h.account.Enter(s.Method, s.Reason, s.Len)
		}
	}
	return nil
}

// tally notes why so many bytes from dst on were not offloaded. They lie in the steps, which are in
// the order of the destination.
func (h *Host) tally(steps []plan.Step, dst, bytes int64) {
	i, _ := slices.BinarySearchFunc(steps, dst, func(s plan.Step, at int64) int { return cmp.Compare(s.DstOff+s.Len-1, at) })
	for ; bytes > 0 && i < len(steps); i++ {
		n := min(bytes, steps[i].DstOff+steps[i].Len-dst)
		h.account.Tally(steps[i].Method, steps[i].Reason, n)
		dst, bytes = dst+n, bytes-n
	}
}

// move carries out steps, and makes do without what could not be read, if it may.
func (h *Host) move(ctx context.Context, steps []plan.Step) error {
	trying, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	result, err := h.engine.Copy(trying, h.src.Device, h.dst.Device, Ops(steps), emulation.Observer{
		Done: func(part emulation.Op) {
			h.tally(steps, part.Dst, part.Len)
			h.account.Add(account.ByHost, part.Len)
			h.account.Tell()
		},
		Failure: func(f emulation.Failure) {
			if !h.MayContinue(f) { // nor is there any use in what comes after it
				stop(errStop)
			}
		},
	})
	if errors.Is(err, errStop) {
		err = nil // the failure says it all
	}
	h.account.Add(account.ByHost, -result.Zeroed-result.Skipped)
	h.account.Add(account.Zeroed, result.Zeroed)
	h.account.Add(account.Skipped, result.Skipped)
	switch {
	case ctx.Err() != nil:
		return failure.Interrupted(ctx)
	case err != nil:
		return failure.During("copy", errors.Join(err, Lost(result.Failures), h.explain(ctx)))
	case len(result.Failures) > 0:
		return failure.During("copy", h.giveUp(ctx, steps, result.Failures))
	}
	return nil
}

// errStop ends a batch whose failure ends the copy.
var errStop = errors.New("a failure that ends the copy")

// Prime copies operations that are copied once more later, and counts none of it. What
// cannot be read will be met again.
func (h *Host) Prime(ctx context.Context, ops iter.Seq[emulation.Op]) error {
	result, err := h.engine.Copy(ctx, h.src.Device, h.dst.Device, ops, emulation.Observer{})
	if ctx.Err() != nil {
		return failure.Interrupted(ctx)
	}
	if err == nil {
		err = Lost(slices.DeleteFunc(result.Failures, h.MayContinue))
	}
	if err != nil {
		return errors.Join(err, h.explain(ctx))
	}
	return nil
}

// Compare compares what operations would copy.
func (h *Host) Compare(ctx context.Context, ops iter.Seq[emulation.Op], o emulation.Observer) (emulation.Comparison, error) {
	return h.engine.Compare(ctx, h.src.Device, h.dst.Device, ops, o)
}

// CompareRanges compares ranges.
func (h *Host) CompareRanges(ctx context.Context, ranges []byterange.Range, o emulation.Observer) (emulation.Comparison, error) {
	return h.Compare(ctx, copies(ranges), o)
}

// Ops joins neighbouring steps into operations as long as possible: reasons
// end where the layout does, but the host reads and writes through the top.
func Ops(steps []plan.Step) iter.Seq[emulation.Op] {
	return func(yield func(emulation.Op) bool) {
		var op emulation.Op
		for _, s := range steps {
			next := emulation.Op{Src: s.SrcOff, Dst: s.DstOff, Len: s.Len, Zero: s.Method == account.Zero}
			if op.Len > 0 && next.Zero == op.Zero && next.Src == op.Src+op.Len && next.Dst == op.Dst+op.Len {
				op.Len += next.Len
				continue
			}
			if op.Len > 0 && !yield(op) {
				return
			}
			op = next
		}
		if op.Len > 0 {
			yield(op)
		}
	}
}

// copies are the operations of ranges.
func copies(ranges []byterange.Range) iter.Seq[emulation.Op] {
	return func(yield func(emulation.Op) bool) {
		for _, g := range ranges {
			if !yield(emulation.Op{Src: g.Src, Dst: g.Dst, Len: g.Len}) {
				return
			}
		}
	}
}
