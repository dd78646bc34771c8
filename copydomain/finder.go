package copydomain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

// Why a pair of leaves has no method.
const (
	ReasonNoMethod         remap.Reason = "domain:no-method"
	ReasonDifferentDevices remap.Reason = "domain:different-devices"
	ReasonOtherSubsystem   remap.Reason = "domain:different-subsystem"
	ReasonOtherNamespace   remap.Reason = "domain:cross-namespace"
	ReasonZoned            remap.Reason = "domain:zoned"
	ReasonPermission       remap.Reason = "domain:permission"
	ReasonProbeFailed      remap.Reason = "domain:probe-failed"
	ReasonIdentity         remap.Reason = "domain:identity-changed"
)

// Finder answers for the leaves of a machine. It opens and identifies each
// leaf once, and keeps it open until Close.
type Finder struct {
	open Openers

	mu      sync.Mutex
	devices map[remap.Dev]probed
	units   units
}

// Openers reach leaves. For a kind of leaf without one there is no method.
type Openers struct {
	NVMe func(leaf *remap.Node) (nvme.Transport, error)
	// SCSI opens a disk for commands that only ask, or for all.
	SCSI func(leaf *remap.Node, write bool) (scsi.Transport, error)
}

// probed is what was found out about a leaf.
type probed struct {
	device    *nvme.Device
	copier    *nvme.Copier // made on first use
	transport nvme.Transport
	reason    remap.Reason
	detail    string
}

// NewFinder returns a finder for the devices of this machine.
func NewFinder() *Finder {
	return NewFinderFor(Openers{
		NVMe: func(leaf *remap.Node) (nvme.Transport, error) { return nvme.Open(leaf.Name, true) },
		SCSI: openUnit,
	})
}

// NewFinderWith returns a finder for NVMe namespaces, which reaches them through
// open.
func NewFinderWith(open func(leaf *remap.Node) (nvme.Transport, error)) *Finder {
	return NewFinderFor(Openers{NVMe: open})
}

// NewFinderFor returns a finder that reaches leaves through open.
func NewFinderFor(open Openers) *Finder {
	return &Finder{open: open, devices: make(map[remap.Dev]probed), units: newUnits()}
}

// Pair tells how one command can copy from src to dst, both leaves.
func (f *Finder) Pair(ctx context.Context, src, dst *remap.Node) Pair {
	pair := Pair{Src: src, Dst: dst}
	pair.Reason, pair.Detail = f.apart(src, dst)
	if pair.Reason != "" {
		return pair
	}
	if dst.Leaf.Driver == driverSCSI {
		return f.pairUnits(ctx, pair)
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

// driverSCSI is the driver of leaves that are SCSI logical units.
const driverSCSI = "scsi"

// apart tells why two leaves cannot be spanned, as far as their facts say.
func (f *Finder) apart(src, dst *remap.Node) (remap.Reason, string) {
	switch a, b := src.Leaf, dst.Leaf; {
	case a.Driver != b.Driver:
		return ReasonDifferentDevices, fmt.Sprintf("%s and %s are different kinds of devices", src.Name, dst.Name)
	case !f.reaches(a) || !f.reaches(b):
		return ReasonNoMethod, fmt.Sprintf("there is no copy method for %s", dst.Name)
	case a.Zoned != "none" || b.Zoned != "none":
		return ReasonZoned, fmt.Sprintf("%s or %s is zoned", src.Name, dst.Name)
	case a.Driver == driverSCSI:
		return "", ""
	case a.NVMe.Subsystem != b.NVMe.Subsystem:
		return ReasonOtherSubsystem, fmt.Sprintf("%s and %s belong to different NVM subsystems", src.Name, dst.Name)
	case src.Dev != dst.Dev:
		return ReasonOtherNamespace, fmt.Sprintf("%s and %s are different namespaces", src.Name, dst.Name)
	}
	return "", ""
}

func (f *Finder) reaches(leaf *remap.Leaf) bool {
	if leaf.Driver == driverSCSI {
		return f.open.SCSI != nil
	}
	return leaf.NVMe != nil && f.open.NVMe != nil
}

// probe identifies a leaf, once.
func (f *Finder) probe(ctx context.Context, leaf *remap.Node) probed {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, known := f.devices[leaf.Dev]
	if known {
		return p
	}
	p = f.identify(ctx, leaf)
	if ctx.Err() != nil { // that says nothing about the device
		if p.transport != nil {
			p.transport.Close()
		}
		return p
	}
	f.devices[leaf.Dev] = p
	return p
}

func (f *Finder) identify(ctx context.Context, leaf *remap.Node) probed {
	transport, err := f.open.NVMe(leaf)
	if errors.Is(err, fs.ErrPermission) {
		return probed{reason: ReasonPermission, detail: err.Error()}
	}
	if err != nil {
		return probed{reason: ReasonProbeFailed, detail: err.Error()}
	}
	p := probed{transport: transport}
	p.device, err = nvme.Probe(ctx, transport, leaf.Leaf.NVMe.NSID)
	switch {
	case err != nil:
		p.reason, p.detail = ReasonProbeFailed, err.Error()
	case p.device.Support.Verdict != nvme.Yes:
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
	case size != leaf.Size.Bytes():
		return ReasonIdentity, fmt.Sprintf("%s has %d bytes instead of %d", leaf.Name, size, leaf.Size.Bytes())
	case int(d.Namespace.BlockSize) != leaf.BlockSize:
		return ReasonIdentity, fmt.Sprintf("%s has blocks of %d bytes instead of %d", leaf.Name, d.Namespace.BlockSize, leaf.BlockSize)
	}
	return "", ""
}

// Copier returns what issues commands for a pair with a method. Whoever copies
// to a leaf shares its fences; InFlight, Timeout and Log are those of the first
// for the pair.
func (f *Finder) Copier(ctx context.Context, pair Pair, opt CopyOptions) (Copier, error) {
	if pair.Dst.Leaf.Driver == driverSCSI {
		return f.unitCopier(ctx, pair, opt)
	}
	p := f.probe(ctx, pair.Dst)
	if p.reason != "" {
		return nil, fmt.Errorf("copydomain: %s: %s", p.reason, p.detail)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p = f.devices[pair.Dst.Dev]
	if p.copier == nil {
		var err error
		p.copier, err = nvme.NewCopier(p.device, nvme.Options{InFlight: opt.InFlight, Timeout: opt.Timeout, Logger: opt.Log})
		if err != nil {
			return nil, err
		}
		f.devices[pair.Dst.Dev] = p
	}
	return newNVMeCopier(p.device, p.copier, opt), nil
}

// Close lets all devices go.
func (f *Finder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for dev, p := range f.devices {
		if p.transport != nil {
			errs = append(errs, p.transport.Close())
		}
		delete(f.devices, dev)
	}
	errs = append(errs, f.units.close())
	return errors.Join(errs...)
}
