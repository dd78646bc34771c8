package copydomain

import (
	"context"
	"errors"
	"fmt"

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
// leaf once, and again when it looks another way ([remap.Node.Print]) or something has happened to it
// ([Finder.Epoch]), and keeps it open until Close.
type Finder struct {
	methods        []method
	epochs         *epochs
	crossNamespace *crossNamespace
}

// method is a way in which devices copy. Each is a type of its own, and a word in
// [NewFinderFor].
type method interface {
	// answersFor tells whether a pair is of the kind that the method is for.
	answersFor(src, dst *remap.Node) bool
	// pair tells how one command can copy, or why not.
	pair(ctx context.Context, pair Pair) Pair
	// copier issues commands for a pair with a method. A pair that has none any more is
	// [Withdrawn].
	copier(ctx context.Context, pair Pair, opt CopyOptions) (Copier, error)
	close() error
}

// Openers reach leaves, and the controllers that lead to them. For a kind of leaf
// without one there is no method.
type Openers struct {
	NVMe func(leaf *remap.Node) (nvme.Transport, error)
	// SCSI opens a disk for commands that only ask, or for all.
	SCSI func(leaf *remap.Node, write bool) (scsi.Transport, error)
	// SameIdentity lists the other disks of the machine with the identity of this one.
	SameIdentity func(leaf *remap.Node) (scsi.SameIdentity, error)
	// Controllers names the controllers that may execute commands to a namespace,
	// and Controller opens one. Without them nothing is copied from one namespace
	// to another.
	Controllers func(leaf *remap.Node) ([]string, error)
	Controller  func(name string) (nvme.Transport, error)
	// FileSystem tells what a regular file is on, and Files opens two.
	FileSystem func(file files.Name) (files.FileSystem, error)
	Files      func(src, dst files.Name) (files.Transport, error)
}

// NewFinder returns a finder for the devices of this machine.
func NewFinder() *Finder {
	return NewFinderFor(Openers{
		NVMe:         openNamespace,
		Controllers:  func(leaf *remap.Node) ([]string, error) { return nvme.Controllers(leaf.Name) },
		Controller:   func(name string) (nvme.Transport, error) { return opened(nvme.OpenController(name)) },
		SCSI:         openUnit,
		FileSystem:   files.Look,
		Files:        openFiles,
		SameIdentity: func(leaf *remap.Node) (scsi.SameIdentity, error) { return scsi.FindSameIdentity(leaf.Name) },
	})
}

// NewFinderWith returns a finder for NVMe namespaces, which reaches them through
// open, and no controllers.
func NewFinderWith(open func(leaf *remap.Node) (nvme.Transport, error)) *Finder {
	return NewFinderFor(Openers{NVMe: open})
}

// NewOfflineFinder returns a finder that answers from what a snapshot says of the
// leaves and asks no device.
func NewOfflineFinder() *Finder {
	return NewFinderWith(func(*remap.Node) (nvme.Transport, error) { return nil, errors.New("devices are not asked") })
}

// NewFinderFor returns a finder that reaches leaves through open.
func NewFinderFor(open Openers) *Finder {
	e, b := new(epochs), new(budgets)
	namespaces, units := &namespaces{open: open, budgets: b}, &units{open: open, budgets: b}
	namespaces.leaves.epochs, units.leaves.epochs = e, e
	return &Finder{crossNamespace: &namespaces.crossNamespace, epochs: e, methods: []method{newFilePairs(open), units, namespaces}}
}

// Pair tells how one command can copy from src to dst, both leaves.
func (f *Finder) Pair(ctx context.Context, src, dst *remap.Node) Pair {
	pair := Pair{Src: src, Dst: dst}
	for _, m := range f.methods {
		if m.answersFor(src, dst) {
			return m.pair(ctx, pair)
		}
	}
	pair.Reason, pair.Detail = apart(src, dst)
	return pair
}

// Copier returns what issues commands for a pair with a method. Whoever copies
// to or from a leaf shares its fences, and whoever copies by a disk or an array shares
// its budget; InFlight, Timeout and Log are those of the first for the pair. The caller closes it.
func (f *Finder) Copier(ctx context.Context, pair Pair, opt CopyOptions) (Copier, error) {
	for _, m := range f.methods {
		if m.answersFor(pair.Src, pair.Dst) {
			return m.copier(ctx, pair, opt)
		}
	}
	why, detail := apart(pair.Src, pair.Dst)
	return nil, &Withdrawn{why, detail}
}

// Close lets all devices go. What it has set on controllers is set back first;
// the error tells where that failed.
func (f *Finder) Close() error {
	errs := []error{f.crossNamespace.restore()}
	for _, m := range f.methods {
		errs = append(errs, m.close())
	}
	return errors.Join(append(errs, f.epochs.close())...)
}

// apart tells why no method answers for two leaves.
func apart(src, dst *remap.Node) (remap.Reason, string) {
	if src.Leaf != nil && dst.Leaf != nil && src.Leaf.Driver != dst.Leaf.Driver {
		return ReasonDifferentDevices, fmt.Sprintf("%s and %s are different kinds of devices", src.Name, dst.Name)
	}
	return ReasonNoMethod, fmt.Sprintf("there is no copy method for %s", dst.Name)
}

// unlike tells why two leaves of one kind cannot be spanned, as far as their facts say.
func unlike(src, dst *remap.Node) (remap.Reason, string) {
	switch a, b := src.Leaf, dst.Leaf; {
	case (a.Zoned != "none" || b.Zoned != "none") && !withinZones(src, dst):
		return ReasonZoned, fmt.Sprintf("%s or %s is zoned", src.Name, dst.Name)
	case src.Dev != dst.Dev && a.Identity != "" && a.Identity == b.Identity:
		return ReasonDuplicate, fmt.Sprintf("%s and %s both have the identity %s", src.Name, dst.Name, a.Identity)
	}
	return "", ""
}

// withinZones tells whether two leaves are one NVMe namespace of the Zoned Namespace
// command set.
func withinZones(src, dst *remap.Node) bool {
	const managed = "host-managed"
	return src.Dev == dst.Dev && src.Leaf.NVMe != nil && src.Leaf.Zoned == managed && dst.Leaf.Zoned == managed
}
