package copydomain

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// namespaces are NVMe namespaces, which copy within themselves or, if their controllers may, from
// one to another.
type namespaces struct {
	open           Openers
	budgets        *budgets
	leaves         leaves[*nvme.Device, nvme.Transport, *nvme.Copier]
	crossNamespace crossNamespace
}

type probed = identified[*nvme.Device, nvme.Transport]

func (f *namespaces) answersFor(src, dst *remap.Node) bool {
	return f.open.NVMe != nil && isNamespace(src) && isNamespace(dst)
}

func isNamespace(n *remap.Node) bool {
	return n.Leaf != nil && n.Leaf.Driver != driverSCSI && n.Leaf.NVMe != nil
}

func (f *namespaces) pair(ctx context.Context, pair Pair) Pair {
	src, dst := pair.Src, pair.Dst
	if pair.Reason, pair.Detail = unlike(src, dst); pair.Reason != "" {
		return pair
	}
	if src.Leaf.NVMe.Subsystem != dst.Leaf.NVMe.Subsystem {
		pair.Reason, pair.Detail = ReasonOtherSubsystem, fmt.Sprintf("%s and %s belong to different NVM subsystems", src.Name, dst.Name)
		return pair
	}
	if src.Dev != dst.Dev {
		return f.crossPair(ctx, pair)
	}
	p := f.probe(ctx, dst)
	if p.reason != "" {
		pair.Reason, pair.Detail = p.reason, p.detail
		return pair
	}
	ns := p.device.Namespace
	pair.Method = NVMeCopy
	pair.Domain = fmt.Sprintf("nvme:%s:%d", p.device.Controller.Serial, p.device.NSID)
	pair.Block = int(ns.BlockSize)
	pair.CommandBytes = int64(ns.Limits.CommandBlocks) * int64(ns.BlockSize)
	pair.Limits = ns.Limits.String()
	return pair
}

func (f *namespaces) copier(ctx context.Context, pair Pair, opt CopyOptions) (Copier, error) {
	for _, leaf := range []*remap.Node{pair.Src, pair.Dst} {
		if p := f.probe(ctx, leaf); p.reason != "" {
			return nil, &Withdrawn{p.reason, p.detail}
		}
	}
	budget := f.budgets.of(subsystemOf(pair.Dst))
	copier, ends, err := f.leaves.copier(pair, func(ends [2]*nvme.Device) (*nvme.Copier, error) {
		opts := blocks.Options{InFlight: opt.InFlight, Timeout: opt.Timeout, Logger: opt.Log, Budget: budget}
		if pair.Src.Dev != pair.Dst.Dev {
			if why := nvme.CrossNamespaceSupport(ends[0], ends[1]); why.Able != blocks.Yes {
				return nil, &Withdrawn{remap.Reason(why.Reason), why.Detail}
			}
			return nvme.NewCrossCopier(ends[0], ends[1], opts)
		}
		return nvme.NewCopier(ends[1], opts)
	})
	if err != nil {
		return nil, err
	}
	c := newNVMeCopier(ends[1], copier, opt)
	// Pairs that write one namespace share its commands.
	c.leave = budget.Join(user(opt, c), pair.Dst.Dev, copier.InFlight())
	if pair.Src.Dev != pair.Dst.Dev {
		c.able = func(ctx context.Context) (remap.Reason, error) {
			why, detail := f.able(ctx, pair, ends, CrossAsFound)
			return why, errors.New(detail)
		}
	}
	return c, nil
}

func (f *namespaces) probe(ctx context.Context, leaf *remap.Node) probed {
	return f.leaves.find(ctx, leaf, f.identify)
}

// identify asks a leaf, through what is open to it already if that leads anywhere.
func (f *namespaces) identify(ctx context.Context, leaf *remap.Node, open nvme.Transport) probed {
	if open != nil {
		if p := ask(ctx, leaf, open); p.device != nil || ctx.Err() != nil {
			return p
		}
	}
	transport, err := f.open.NVMe(leaf)
	if errors.Is(err, fs.ErrPermission) {
		return probed{reason: ReasonPermission, detail: err.Error()}
	}
	if err != nil {
		return probed{reason: ReasonProbeFailed, detail: err.Error()}
	}
	return ask(ctx, leaf, &attentiveNamespace{transport, func() { f.leaves.epochs.meet(leaf.Dev) }})
}

func ask(ctx context.Context, leaf *remap.Node, transport nvme.Transport) probed {
	p := probed{name: leaf.Name, transport: transport}
	var err error
	p.device, err = nvme.Probe(ctx, transport, leaf.Leaf.NVMe.NSID)
	switch {
	case err != nil:
		p.reason, p.detail = ReasonProbeFailed, err.Error()
	case p.device.Support.Able != blocks.Yes:
		p.reason, p.detail = remap.Reason(p.device.Support.Reason), p.device.Support.Detail
	default:
		p.reason, p.detail = mistaken(p.device, leaf)
	}
	return p
}

// mistaken makes sure that the device behind the name is the one of the
// snapshot: names pass from device to device.
func mistaken(d *nvme.Device, leaf *remap.Node) (remap.Reason, string) {
	switch size := int64(d.Namespace.Blocks) * int64(d.Namespace.BlockSize); {
	case d.Controller.Serial != leaf.Leaf.NVMe.Serial:
		return ReasonIdentity, fmt.Sprintf("%s has serial %q instead of %q", leaf.Name, d.Controller.Serial, leaf.Leaf.NVMe.Serial)
	case !goesBy(d.Namespace, leaf.Leaf.Identity):
		return ReasonIdentity, fmt.Sprintf("%s identifies itself as %x or %x instead of %s", leaf.Name, d.Namespace.NGUID, d.Namespace.EUI64, leaf.Leaf.Identity)
	case size != leaf.Size.Bytes():
		return ReasonIdentity, fmt.Sprintf("%s has %d bytes instead of %d", leaf.Name, size, leaf.Size.Bytes())
	case int(d.Namespace.BlockSize) != leaf.BlockSize:
		return ReasonIdentity, fmt.Sprintf("%s has blocks of %d bytes instead of %d", leaf.Name, d.Namespace.BlockSize, leaf.BlockSize)
	case (d.ZoneBlocks > 0) != (leaf.Leaf.Zoned != "none"):
		return ReasonIdentity, fmt.Sprintf("%s has zones of %d blocks and is %q", leaf.Name, d.ZoneBlocks, leaf.Leaf.Zoned)
	}
	return "", ""
}

// goesBy compares a namespace with its name in sysfs, if that is NGUID or EUI64
// (drivers/nvme/host/sysfs.c, wwid_show).
func goesBy(n nvme.Namespace, wwid string) bool {
	name, ok := strings.CutPrefix(wwid, "eui.")
	return !ok || name == hex.EncodeToString(n.NGUID[:]) || name == hex.EncodeToString(n.EUI64[:])
}

func (f *namespaces) close() error { return f.leaves.close() }

// openNamespace opens a namespace of this machine, and makes sure that it is the one
// of the snapshot as far as its number tells.
func openNamespace(leaf *remap.Node) (nvme.Transport, error) {
	f, err := nvme.Open(leaf.Name, true)
	if err == nil && f.Disk() != leaf.Dev.String() {
		err = errors.Join(fmt.Errorf("copydomain: %s is device %s instead of %v", leaf.Name, f.Disk(), leaf.Dev), f.Close())
	}
	return opened(f, err)
}

// opened keeps a file that is nil from becoming a transport that is not.
func opened(f *nvme.File, err error) (nvme.Transport, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}
