package dispatch

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// watchedBy has the calls of both ends counted.
func (j Job) watchedBy(v *inflight.Calls) Job {
	for _, end := range []*ends.Endpoint{&j.Src, &j.Dst} {
		end.Device = v.Watch(end.Device, end.Name)
	}
	return j
}

// watchedLeaf is a leaf whose calls are counted.
type watchedLeaf struct {
	emulation.Device
	leaf machine.Leaf
}

// Close implements [Leaf].
func (w watchedLeaf) Close() error { return w.leaf.Close() }

// Async is how transfers are left to the kernel (see [emulation.Async]).
func (w watchedLeaf) Async() emulation.Start { return emulation.Async(w.Device) }

// watchedMachine is a machine whose calls are counted, but those that are never I/O.
type watchedMachine struct {
	machine.Machine
	calls *inflight.Calls
}

// OpenLeaf implements [Machine].
func (m watchedMachine) OpenLeaf(ctx context.Context, n *remap.Node) (machine.Leaf, error) {
	defer m.calls.Begin("opening", n.DisplayName(), inflight.NoOffset)()
	leaf, err := m.Machine.OpenLeaf(ctx, n)
	if err != nil {
		return nil, err
	}
	return watchedLeaf{m.calls.Watch(leaf, n.DisplayName()), leaf}, nil
}

// DropCaches implements [Machine].
func (m watchedMachine) DropCaches(ctx context.Context, n *remap.Node, part machine.Part) error {
	defer m.calls.Begin("writing back the page cache", n.DisplayName(), inflight.NoOffset)()
	return m.Machine.DropCaches(ctx, n, part)
}

// Pair implements [Machine].
func (m watchedMachine) Pair(ctx context.Context, src, dst *remap.Node) copydomain.Pair {
	defer m.calls.Begin("identifying", dst.DisplayName(), inflight.NoOffset)()
	return m.Machine.Pair(ctx, src, dst)
}

// Copier implements [Machine]. A command that does not come back is fenced by the
// copier; until then the layout stays held for it.
func (m watchedMachine) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	name := pair.Dst.DisplayName()
	defer m.calls.Begin("identifying", name, inflight.NoOffset)()
	c, err := m.Machine.Copier(ctx, pair, opt)
	if err != nil {
		return nil, err
	}
	return watchedCopier{c, m.calls, name}, nil
}

// watchedCopier is a copier whose commands are counted.
type watchedCopier struct {
	copydomain.Copier
	calls *inflight.Calls
	name  string
}

// Copy implements [copydomain.Copier].
func (c watchedCopier) Copy(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	defer c.calls.Commands(c.name)()
	return c.Copier.Copy(ctx, moves)
}

// Close implements [copydomain.Copier].
func (c watchedCopier) Close() error {
	defer c.calls.Begin("closing", c.name, inflight.NoOffset)()
	return c.Copier.Close()
}

// Flush implements [copydomain.Copier].
func (c watchedCopier) Flush(ctx context.Context) error {
	defer c.calls.Begin("flush", c.name, inflight.NoOffset)()
	return c.Copier.Flush(ctx)
}
