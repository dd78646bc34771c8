package kernel

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/layout/watch"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Machine is the [machine.Machine] that this process runs on.
type Machine struct {
	*copydomain.Finder
	reader *layout.Reader
	log    *slog.Logger
}

var _ machine.Machine = (*Machine)(nil)

// New returns the machine that this process runs on. Layouts are read
// through reader. Nothing is logged without a log.
func New(reader *layout.Reader, log *slog.Logger) *Machine {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	finder := copydomain.NewFinder()
	finder.Follow(copydomain.Sources{Events: listen(log), Software: software})
	return &Machine{Finder: finder, reader: reader, log: log}
}

// Stack implements [Layout].
func (k *Machine) Stack(ctx context.Context, devs ...remap.Dev) (*remap.Stack, error) {
	s, err := k.reader.Read(ctx, devs...)
	if err != nil {
		return nil, err
	}
	return s.Stack()
}

// Changes implements [Layout].
func (k *Machine) Changes(ctx context.Context, st *remap.Stack) ([]remap.Change, error) {
	return k.reader.Changes(ctx, st)
}

// Renew implements [Layout].
func (k *Machine) Renew() error { return k.reader.Renew() }

// OpenLeaf implements [Machine].
func (k *Machine) OpenLeaf(_ context.Context, leaf *remap.Node) (machine.Leaf, error) {
	return emulation.OpenDevice(leaf.Path, leaf.Dev.Major, leaf.Dev.Minor, 0)
}

// Holder implements [Machine].
func (k *Machine) Holder(mode hold.Mode, dst *remap.Node) machine.Holder {
	return hold.NewHolder(mode, dst.Path, dst.Dev, k.log)
}

// Watch implements [Machine].
func (k *Machine) Watch() machine.Watch {
	w, err := watch.Open("", k.log)
	if err != nil {
		k.log.Debug("the layout is not watched", "error", err)
		return machine.NoWatch{}
	}
	return w
}

// DropCaches implements [Machine].
func (k *Machine) DropCaches(_ context.Context, node *remap.Node, part machine.Part) error {
	var partitions []remap.Dev
	if part == machine.PartSource || part == machine.PartDestination {
		facts, err := sysblock.FS("").Facts(node.Dev)
		if err != nil {
			return err
		}
		if partitions, err = sysblock.FS("").Partitions(facts); err != nil {
			return err
		}
	}
	if part < machine.PartBelow {
		return errors.Join(dropRead(node.Path, node.Dev), each(partitions, dropUnmapped))
	}
	return errors.Join(dropAll(node.Dev), each(partitions, dropAll))
}

func each(devs []remap.Dev, do func(remap.Dev) error) error {
	for _, dev := range devs {
		if err := do(dev); err != nil {
			return err
		}
	}
	return nil
}

// dropRead drops what nobody has mapped. Opening for reading only keeps udev from taking
// the close for the end of a change to the disk.
func dropRead(path string, dev remap.Dev) error {
	f, err := blockio.OpenDevice(path, dev.Major, dev.Minor, blockio.Buffered)
	if err != nil {
		return err
	}
	return errors.Join(f.Cache().Invalidate(), f.Close())
}

// dropUnmapped is dropRead of a device whose node need not have a name.
func dropUnmapped(dev remap.Dev) error {
	f, err := blockio.OpenNode(dev.Major, dev.Minor, blockio.Buffered)
	if err != nil {
		return err
	}
	return errors.Join(f.Cache().Invalidate(), f.Close())
}

// dropAll drops what is mapped as well. A device that is set to read-only is written
// to by nobody.
func dropAll(dev remap.Dev) error {
	f, err := blockio.OpenNode(dev.Major, dev.Minor, blockio.Write)
	readOnly := errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)
	if readOnly {
		f, err = blockio.OpenNode(dev.Major, dev.Minor, 0)
	}
	if err != nil {
		return err
	}
	err = f.Cache().Invalidate()
	if err == nil && !readOnly {
		if err = f.Cache().Unmap(); errors.Is(err, unix.EPERM) {
			err = nil
		}
	}
	return errors.Join(err, f.Close())
}

// Local is the machine with a reader of its own, which close closes as well.
func Local(log *slog.Logger) (m *Machine, close func() error) {
	reader := layout.NewReader(layout.Options{TakeMetadataSnaps: true, Log: log})
	m = New(reader, log)
	return m, func() error { return errors.Join(m.Close(), reader.Close()) }
}
