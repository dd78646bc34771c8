package machine

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
)

// Machine is what a copy needs of the system around it. The real one is made
// of the kernel's interfaces ([NewMachine]); test/fakestack is another.
type Machine interface {
	Layout
	// Pair tells by which method one command can copy from src to dst.
	Pair(ctx context.Context, src, dst *remap.Node) copydomain.Pair
	// Copier issues commands for a pair that has a method.
	Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error)
	// Epoch is a time in which nothing is known to have happened to a leaf: what was found out about it, and
	// proven of it, counts no longer.
	Epoch(leaf *remap.Node) copydomain.Epoch
	// OpenLeaf opens a leaf for reading past every cache.
	OpenLeaf(ctx context.Context, leaf *remap.Node) (Leaf, error)
	// Holder holds the layout of the destination.
	Holder(mode hold.Mode, dst *remap.Node) Holder
	// Watch begins to listen for changes of layouts.
	Watch() Watch
	// DropCaches writes back and forgets what the page cache of the node
	// holds, so that reads below it see what was written above, and the
	// other way round.
	DropCaches(ctx context.Context, node *remap.Node, part Part) error
}

// Part is what a device has to do with a copy.
type Part int

const (
	// PartBelowSource is below the source: nothing of it changes. What somebody
	// has mapped of it stays in the page cache, but is written back.
	PartBelowSource Part = iota
	// PartSource is the source itself. Its partitions have page caches of their own, which
	// may hold what nobody has written back: an idle reader is enough for that.
	PartSource
	// PartBelow is below the destination.
	PartBelow
	// PartDestination is the destination itself. Its partitions, which nobody uses,
	// have page caches of their own.
	PartDestination
)

// Layout reads layouts. All of its calls are answered while a hold is on and
// while a suspend is waiting: they are ioctls and sysfs reads, never I/O.
type Layout interface {
	// Stack takes a snapshot of the devices and everything below.
	Stack(ctx context.Context, devs ...remap.Dev) (*remap.Stack, error)
	// Changes tells what differs now.
	Changes(ctx context.Context, st *remap.Stack) ([]remap.Change, error)
	// Renew makes the next snapshot show the blocks that thin volumes were
	// given since the last. It is I/O below, and never called under a hold.
	Renew() error
}

// Leaf is an opened leaf, for reading back.
type Leaf interface {
	emulation.Device
	Close() error
}

// Holder is what [hold.Holder] does.
type Holder interface {
	// Ready prepares holding a mapped destination, and fails with
	// hold.ErrUnavailable where that is not possible.
	Ready() error
	Hold(ctx context.Context, req hold.Request) (hold.Held, error)
	Close() error
}

// Watch waits for events that may concern a layout; it is a
// [watch.Watcher] outside of tests.
type Watch interface {
	// Follow sets the devices whose events count from now on.
	Follow(devs []remap.Dev)
	// Events has a token once there was an event that may concern one of them.
	Events() <-chan struct{}
	Close() error
}

// NoWatch is a [Watch] without events. Copies are as safe with it.
type NoWatch struct{}

// Follow implements [Watch].
func (NoWatch) Follow([]remap.Dev) {}

// Events implements [Watch].
func (NoWatch) Events() <-chan struct{} { return nil }

// Close implements [Watch].
func (NoWatch) Close() error { return nil }
