package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
)

// thisMachine is the root of /sys, /dev and /proc.
const thisMachine = ends.Here

// world is the machine that a command looks at: this one, or a snapshot.
type world struct {
	machine.Machine
	find  func(name string) (remap.Dev, error)
	close func() error
	// finder is asked which disks can copy.
	finder *copydomain.Finder
	// snapshots are the snapshots that writing to a device fills.
	snapshots func(dev remap.Dev) ([]layout.SnapshotSpace, error)
	// rooms are what is left of the thin pools that it takes blocks of, lost the snapshots
	// below a device that cannot be used any more.
	rooms func(dev remap.Dev) ([]layout.PoolSpace, error)
	lost  func(dev remap.Dev) ([]string, error)
	// refusals is what a snapshot knows of why copy would refuse two ends; nil for this
	// machine.
	refusals func(src, dst remap.Dev) []string
}

// stackFlag chooses between this machine and a snapshot.
type stackFlag struct{ file fileFlag }

func (f *stackFlag) add(flags *pflag.FlagSet) {
	flags.Var(&f.file, "stack", "use a snapshot made by dmcopy capture instead of this machine; - is stdin")
}

func (f *stackFlag) given() bool { return f.file != "" }

// layersFlag says how far layers are looked through.
type layersFlag struct {
	trust layout.Trust
	// roots lets metadata snapshots of thin pools be taken, for as long as the
	// command runs.
	roots bool
}

func (f *layersFlag) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.trust.Verity, "trust-verity", false, "read a source below dm-verity, without the checks of dm-verity")
	flags.BoolVar(&f.trust.Integrity, "trust-integrity", false, "read a source below dm-integrity, without the checks of dm-integrity")
}

// world opens what the flag chose.
func (a *app) world(f stackFlag, l layersFlag) (*world, error) {
	if !f.given() {
		return a.live(l), nil
	}
	s, err := a.loadStack(string(f.file))
	if err != nil {
		return nil, err
	}
	return newCaptured(s.Trusting(l.trust), string(f.file))
}

// live is this machine.
func (a *app) live(l layersFlag) *world {
	reader := layout.NewReader(layout.Options{TakeMetadataSnaps: l.roots, Trust: l.trust, Log: a.log})
	machine := kernel.New(reader, a.log)
	given := a.hold()
	return &world{
		Machine:   machine,
		snapshots: reader.SnapshotSpaces,
		rooms:     reader.PoolSpaces,
		lost:      reader.LostSnapshots,
		finder:    machine.Finder,
		find:      func(name string) (remap.Dev, error) { return ends.FindDevice(thisMachine, name) },
		close: func() error {
			defer given()
			return errors.Join(machine.Close(), reader.Close())
		},
	}
}

func (a *app) loadStack(file string) (*layout.Snapshot, error) {
	in := io.Reader(a.in)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage("--stack: %v", err)
		}
		defer f.Close()
		in = f
	}
	s, err := layout.Load(in)
	if err != nil {
		return nil, usage("--stack %s: %v", file, err)
	}
	return s, nil
}

// findAll looks several names up.
func (w *world) findAll(names []string) ([]remap.Dev, error) {
	var devs []remap.Dev
	for _, name := range names {
		dev, err := w.find(name)
		if err != nil {
			return nil, err
		}
		devs = append(devs, dev)
	}
	return devs, nil
}

// stack takes the snapshot that the command works on.
func (w *world) stack(ctx context.Context, names []string) (*remap.Stack, []remap.Dev, error) {
	devs, err := w.findAll(names)
	if err != nil {
		return nil, nil, err
	}
	st, err := w.Stack(ctx, devs...)
	return st, devs, unreadable(err)
}

// errOffline: a snapshot has no devices to open.
var errOffline = errors.New("a snapshot has no devices to open")

// captured is a machine that exists as a snapshot only.
type captured struct {
	stack *remap.Stack
	// offload is what was found out about the leaves.
	offload map[remap.Dev]*layout.Offload
	finder  *copydomain.Finder
}

var _ machine.Machine = (*captured)(nil)

func newCaptured(s *layout.Snapshot, file string) (*world, error) {
	st, err := s.Stack()
	if err != nil {
		return nil, usage("--stack %s: %v", file, err)
	}
	c := &captured{stack: st, offload: make(map[remap.Dev]*layout.Offload), finder: copydomain.NewOfflineFinder()}
	for i := range s.Nodes {
		c.offload[s.Nodes[i].Dev] = s.Nodes[i].Offload
	}
	find := func(name string) (remap.Dev, error) {
		dev, err := s.Lookup(name)
		if err != nil {
			err = &failure.Refusal{
				Thing: name, Reason: "is not in the snapshot " + file,
				Way: "dmcopy tree --stack " + file + " lists what is", Kind: ends.ErrMissing,
			}
		}
		return dev, err
	}
	return &world{Machine: c, finder: c.finder, find: find, close: c.finder.Close, refusals: newRefusals(s, st).settle}, nil
}

// Stack implements [machine.Layout].
func (c *captured) Stack(context.Context, ...remap.Dev) (*remap.Stack, error) { return c.stack, nil }

// Changes implements [machine.Layout].
func (c *captured) Changes(context.Context, *remap.Stack) ([]remap.Change, error) { return nil, nil }

// Renew implements [machine.Layout].
func (c *captured) Renew() error { return nil }

// reasonNotCaptured: the snapshot was made without looking at the disk.
const reasonNotCaptured remap.Reason = "domain:not-captured"

// Pair implements [machine.Machine] from what was found out at the time of
// the capture.
func (c *captured) Pair(ctx context.Context, src, dst *remap.Node) copydomain.Pair {
	if copydomain.InFile(src) && copydomain.InFile(dst) {
		return copydomain.Pair{Src: src, Dst: dst, Reason: reasonNotCaptured, Detail: "captured without looking at the file system"}
	}
	if src.Dev != dst.Dev {
		return c.finder.Pair(ctx, src, dst) // answers from the facts of the nodes
	}
	o := c.offload[src.Dev]
	if o == nil {
		return copydomain.Pair{Src: src, Dst: dst, Reason: reasonNotCaptured, Detail: "captured without looking at the disk"}
	}
	return copydomain.Pair{
		Src: src, Dst: dst, Method: copydomain.Method(o.Method), Reason: o.Reason,
		Detail: o.Detail, Domain: o.Domain, Block: o.Block, Limits: o.Limits,
	}
}

// Copier implements [machine.Machine].
func (c *captured) Copier(context.Context, copydomain.Pair, copydomain.CopyOptions) (copydomain.Copier, error) {
	return nil, errOffline
}

// Epoch implements [machine.Machine]: nothing happens in a snapshot.
func (c *captured) Epoch(leaf *remap.Node) copydomain.Epoch { return c.finder.Epoch(leaf) }

// OpenLeaf implements [machine.Machine].
func (c *captured) OpenLeaf(context.Context, *remap.Node) (machine.Leaf, error) {
	return nil, errOffline
}

// Holder implements [machine.Machine].
func (c *captured) Holder(hold.Mode, *remap.Node) machine.Holder { return offlineHolder{} }

// Watch implements [machine.Machine].
func (c *captured) Watch() machine.Watch { return machine.NoWatch{} }

// DropCaches implements [machine.Machine].
func (c *captured) DropCaches(context.Context, *remap.Node, machine.Part) error { return errOffline }

// endpoint is an end of a plan on a snapshot.
func (w *world) endpoint(ctx context.Context, name string) (ends.Endpoint, error) {
	st, devs, err := w.stack(ctx, []string{name})
	if err != nil {
		return ends.Endpoint{}, err
	}
	return ends.Endpoint{Name: name, Dev: devs[0], Device: offlineDevice{node: st.Node(devs[0])}}, nil
}

// offlineHolder holds nothing.
type offlineHolder struct{}

func (offlineHolder) Ready() error { return errOffline }

func (offlineHolder) Hold(context.Context, hold.Request) (hold.Held, error) { return nil, errOffline }

func (offlineHolder) Close() error { return nil }

// offlineDevice knows its size and its blocks, but no data.
type offlineDevice struct{ node *remap.Node }

var _ emulation.Device = offlineDevice{}

func (offlineDevice) ReadAt([]byte, int64) (int, error)  { return 0, errOffline }
func (offlineDevice) WriteAt([]byte, int64) (int, error) { return 0, errOffline }
func (offlineDevice) Zero(int64, int64) error            { return errOffline }
func (offlineDevice) Flush() error                       { return errOffline }
func (d offlineDevice) BlockSize() int                   { return d.node.BlockSize }
func (d offlineDevice) WriteUnit() int                   { return d.node.BlockSize }
func (d offlineDevice) Size() int64                      { return d.node.Size.Bytes() }
func (d offlineDevice) Name() string                     { return d.node.DisplayName() }
func (d offlineDevice) ID() string                       { return "block:" + d.node.Dev.String() }

// unreadable explains why a layout cannot be read.
func unreadable(err error) error {
	if errors.Is(err, os.ErrNotExist) && ends.WithoutSys(thisMachine) != nil {
		return ends.WithoutSys(thisMachine)
	}
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	return &failure.Refusal{
		Thing: "the layout of this machine", Reason: fmt.Sprintf("cannot be read (%v)", err),
		Way: "run as root, or look at a snapshot with --stack", Kind: failure.ErrRefused,
	}
}
