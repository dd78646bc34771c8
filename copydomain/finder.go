package copydomain

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/files"
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
	ReasonCrossDisabled    remap.Reason = "domain:cross-namespace-disabled"
	ReasonNotReachable     remap.Reason = "domain:namespace-not-reachable"
	ReasonZoned            remap.Reason = "domain:zoned"
	ReasonPermission       remap.Reason = "domain:permission"
	ReasonProbeFailed      remap.Reason = "domain:probe-failed"
	ReasonIdentity         remap.Reason = "domain:identity-changed"
)

// Finder answers for the leaves of a machine. It opens and identifies each
// leaf once, and again when it looks another way ([remap.Node.Print]), and keeps it open until Close.
type Finder struct {
	open Openers

	mu      sync.Mutex
	devices map[remap.Dev]probed
	copiers map[[2]remap.Dev]*nvme.Copier // by source and destination, made on first use
	retired []io.Closer                   // what led to leaves that are others by now

	units    units
	crossing crossing
	files    filePairs
}

// Openers reach leaves, and the controllers that lead to them. For a kind of leaf
// without one there is no method.
type Openers struct {
	NVMe func(leaf *remap.Node) (nvme.Transport, error)
	// SCSI opens a disk for commands that only ask, or for all.
	SCSI func(leaf *remap.Node, write bool) (scsi.Transport, error)
	// Likened names the other disks of the machine that have the name of this one.
	Likened func(leaf *remap.Node) (scsi.Likenesses, error)
	// Controllers names the controllers that may execute commands to a namespace,
	// and Controller opens one. Without them nothing is copied from one namespace
	// to another.
	Controllers func(leaf *remap.Node) ([]string, error)
	Controller  func(name string) (nvme.Transport, error)
	// FileSystem tells what a regular file is on, and Files opens two.
	FileSystem func(file files.Name) (files.FileSystem, error)
	Files      func(src, dst files.Name) (files.Transport, error)
}

// probed is what was found out about a leaf.
type probed struct {
	met
	device    *nvme.Device
	transport nvme.Transport
	reason    remap.Reason
	detail    string
}

// NewFinder returns a finder for the devices of this machine.
func NewFinder() *Finder {
	return NewFinderFor(Openers{
		NVMe:        openNamespace,
		Controllers: func(leaf *remap.Node) ([]string, error) { return nvme.Controllers(leaf.Name) },
		Controller:  func(name string) (nvme.Transport, error) { return opened(nvme.OpenController(name)) },
		SCSI:        openUnit,
		FileSystem:  files.Look,
		Files:       openFiles,
		Likened:     func(leaf *remap.Node) (scsi.Likenesses, error) { return scsi.Likened(leaf.Name) },
	})
}

// openNamespace opens a namespace of this machine, and makes sure that it is the one
// of the snapshot as far as its number tells.
func openNamespace(leaf *remap.Node) (nvme.Transport, error) {
	f, err := nvme.Open(leaf.Name, true)
	if err == nil && f.Disk() != leaf.Dev.String() {
		err = errors.Join(fmt.Errorf("copydomain: %s is device %s instead of %v", leaf.Name, f.Disk(), leaf.Dev), f.Close())
	}
	return opened(f, err)
}

// closer is a transport to close, nil if there is none.
func closer(t nvme.Transport) io.Closer {
	if t == nil {
		return nil
	}
	return t
}

// opened keeps a file that is nil from becoming a transport that is not.
func opened(f *nvme.File, err error) (nvme.Transport, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// NewFinderWith returns a finder for NVMe namespaces, which reaches them through
// open, and no controllers.
func NewFinderWith(open func(leaf *remap.Node) (nvme.Transport, error)) *Finder {
	return NewFinderFor(Openers{NVMe: open})
}

// ErrOffline is what an offline finder says of every device.
var ErrOffline = errors.New("devices are not asked")

// NewOfflineFinder returns a finder that answers from what a snapshot says of the
// leaves and asks no device.
func NewOfflineFinder() *Finder {
	return NewFinderWith(func(*remap.Node) (nvme.Transport, error) { return nil, ErrOffline })
}

// NewFinderFor returns a finder that reaches leaves through open.
func NewFinderFor(open Openers) *Finder {
	return &Finder{
		open:    open,
		devices: make(map[remap.Dev]probed), copiers: make(map[[2]remap.Dev]*nvme.Copier), units: newUnits(),
	}
}

// Pair tells how one command can copy from src to dst, both leaves.
func (f *Finder) Pair(ctx context.Context, src, dst *remap.Node) Pair {
	pair := Pair{Src: src, Dst: dst}
	if InFile(src) && InFile(dst) {
		return f.pairFiles(pair)
	}
	pair.Reason, pair.Detail = f.apart(src, dst)
	if pair.Reason != "" {
		return pair
	}
	if dst.Leaf.Driver == driverSCSI {
		return f.pairUnits(ctx, pair)
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

// driverSCSI is the driver of leaves that are SCSI logical units.
const driverSCSI = "scsi"

// apart tells why two leaves cannot be spanned, as far as their facts say.
func (f *Finder) apart(src, dst *remap.Node) (remap.Reason, string) {
	switch a, b := src.Leaf, dst.Leaf; {
	case a.Driver != b.Driver:
		return ReasonDifferentDevices, fmt.Sprintf("%s and %s are different kinds of devices", src.Name, dst.Name)
	case !f.reaches(a) || !f.reaches(b):
		return ReasonNoMethod, fmt.Sprintf("there is no copy method for %s", dst.Name)
	case (a.Zoned != "none" || b.Zoned != "none") && !withinZones(src, dst):
		return ReasonZoned, fmt.Sprintf("%s or %s is zoned", src.Name, dst.Name)
	case src.Dev != dst.Dev && a.Identity != "" && a.Identity == b.Identity:
		return ReasonDuplicate, fmt.Sprintf("%s and %s are both called %s", src.Name, dst.Name, a.Identity)
	case a.Driver == driverSCSI:
		return "", ""
	case a.NVMe.Subsystem != b.NVMe.Subsystem:
		return ReasonOtherSubsystem, fmt.Sprintf("%s and %s belong to different NVM subsystems", src.Name, dst.Name)
	}
	return "", ""
}

// withinZones tells whether two leaves are one NVMe namespace of the Zoned Namespace
// command set.
func withinZones(src, dst *remap.Node) bool {
	const managed = "host-managed"
	return src.Dev == dst.Dev && src.Leaf.NVMe != nil && src.Leaf.Zoned == managed && dst.Leaf.Zoned == managed
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
	if known && p.stands(leaf) {
		return p
	}
	old := p
	p = f.identify(ctx, leaf)
	p.met = meet(leaf, p.device == nil)
	if ctx.Err() != nil { // that says nothing about the device
		if p.transport != nil {
			p.transport.Close()
		}
		return p
	}
	if known {
		f.retire(leaf.Dev, closer(old.transport))
		switch {
		case p.device == nil:
			p.device = old.device // whose fences stand
		case old.device != nil && !p.device.Succeed(old.device):
			p.reason, p.detail = ReasonIdentity, fmt.Sprintf("%s has other blocks than before, and a command of unknown fate", leaf.Name)
		}
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
	case p.device.Support.Verdict != blocks.Yes:
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
		return ReasonIdentity, fmt.Sprintf("%s calls itself %x or %x and not %s", leaf.Name, d.Namespace.NGUID, d.Namespace.EUI64, leaf.Leaf.Identity)
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

// Copier returns what issues commands for a pair with a method. Whoever copies
// to or from a leaf shares its fences; InFlight, Timeout and Log are those of the
// first for the pair.
func (f *Finder) Copier(ctx context.Context, pair Pair, opt CopyOptions) (Copier, error) {
	if InFile(pair.Dst) {
		return f.fileCopier(pair, opt)
	}
	if pair.Dst.Leaf.Driver == driverSCSI {
		return f.unitCopier(ctx, pair, opt)
	}
	var ends [2]*nvme.Device
	for i, leaf := range []*remap.Node{pair.Src, pair.Dst} {
		p := f.probe(ctx, leaf)
		if p.reason != "" {
			return nil, &Withdrawn{p.reason, p.detail}
		}
		ends[i] = p.device
	}
	copier, err := f.shared(pair, ends, blocks.Options{InFlight: opt.InFlight, Timeout: opt.Timeout, Logger: opt.Log})
	if err != nil {
		return nil, err
	}
	c := newNVMeCopier(ends[1], copier, opt)
	if pair.Src.Dev != pair.Dst.Dev {
		c.able = func(ctx context.Context) (remap.Reason, error) {
			why, detail := f.able(ctx, pair, ends, CrossAsFound)
			return why, errors.New(detail)
		}
	}
	return c, nil
}

// shared returns the copier of a pair, for whoever asks.
func (f *Finder) shared(pair Pair, ends [2]*nvme.Device, opts blocks.Options) (*nvme.Copier, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := [2]remap.Dev{pair.Src.Dev, pair.Dst.Dev}
	if c := f.copiers[key]; c != nil {
		return c, nil
	}
	c, err := nvme.NewCopier(ends[1], opts)
	if key[0] != key[1] {
		c, err = nvme.NewCrossCopier(ends[0], ends[1], opts)
	}
	if err != nil {
		return nil, err
	}
	f.copiers[key] = c
	return c, nil
}

// Close lets all devices go. What it has set on controllers is set back first;
// the error tells where that failed.
func (f *Finder) Close() error {
	errs := []error{f.crossing.restore(), f.files.close()}
	f.mu.Lock()
	defer f.mu.Unlock()
	for dev, p := range f.devices {
		if p.transport != nil {
			errs = append(errs, p.transport.Close())
		}
		delete(f.devices, dev)
	}
	clear(f.copiers)
	for _, old := range f.retired {
		errs = append(errs, old.Close())
	}
	f.retired = nil
	errs = append(errs, f.units.close())
	return errors.Join(errs...)
}
