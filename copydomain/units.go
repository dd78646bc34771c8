package copydomain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// ReasonDuplicate: a command could not tell one logical unit from another.
const ReasonDuplicate remap.Reason = "domain:duplicate-designator"

// units are the SCSI logical units that a finder has identified.
type units struct {
	open    Openers
	budgets *budgets
	leaves  leaves[*scsi.Device, scsi.Transport, unitCopier]
}

type unit = identified[*scsi.Device, scsi.Transport]

func (f *units) answersFor(src, dst *remap.Node) bool {
	return f.open.SCSI != nil && isUnit(src) && isUnit(dst)
}

// driverSCSI is the driver of leaves that are SCSI logical units.
const driverSCSI = "scsi"

func isUnit(n *remap.Node) bool { return n.Leaf != nil && n.Leaf.Driver == driverSCSI }

func (f *units) close() error { return f.leaves.close() }

// openUnit opens a disk of this machine, and makes sure that it is the one of the
// snapshot as far as its number tells.
func openUnit(leaf *remap.Node, write bool) (scsi.Transport, error) {
	t, err := scsi.Open(leaf.Name, write)
	if err != nil {
		return nil, err
	}
	if major, minor := t.Device(); major != leaf.Dev.Major || minor != leaf.Dev.Minor {
		t.Close()
		return nil, fmt.Errorf("copydomain: %s is device %d:%d instead of %v", leaf.Name, major, minor, leaf.Dev)
	}
	return t, nil
}

// pair tells how one command can copy between logical units.
func (f *units) pair(ctx context.Context, pair Pair) Pair {
	if pair.Reason, pair.Detail = unlike(pair.Src, pair.Dst); pair.Reason != "" {
		return pair
	}
	dst := f.unit(ctx, pair.Dst)
	src := dst // which is one unit, also if something happens to it in between
	if pair.Src.Dev != pair.Dst.Dev {
		src = f.unit(ctx, pair.Src)
	}
	for _, u := range []unit{dst, src} {
		if u.reason != "" {
			pair.Reason, pair.Detail = u.reason, u.detail
			return pair
		}
	}
	way, support := wayBetween(src.device, dst.device)
	if support.Able != blocks.Yes {
		pair.Reason, pair.Detail = remap.Reason(support.Reason), support.Detail
		return pair
	}
	if pair.Reason, pair.Detail = f.ambiguous(pair); pair.Reason != "" {
		return pair
	}
	pair.Method, pair.CommandBytes, pair.Limits = way.method, way.commandBytes, way.limits
	pair.Domain = "scsi:" + dst.device.Target()
	pair.Block = int(dst.device.Capacity.BlockSize)
	return pair
}

// way is how one unit copies to another.
type way struct {
	method       Method
	commandBytes int64
	limits       string
}

// wayBetween is EXTENDED COPY, and tokens where that is none.
func wayBetween(src, dst *scsi.Device) (way, blocks.Support) {
	block := dst.Capacity.BlockSize
	limits, support := scsi.Span(src, dst)
	if support.Able == blocks.Yes {
		most := limits.Cap(scsi.DefaultCommandBytes, block).CommandBlocks
		return way{SCSIXCopy, int64(most) * int64(block), limits.String()}, support
	}
	tokens, able := scsi.SpanTokens(src, dst)
	if able.Able == blocks.Yes {
		most := tokens.Cap(scsi.DefaultCommandBytes, block).Blocks
		return way{SCSIODX, int64(most) * int64(block), tokens.String()}, able
	}
	if src.Tokens.Support.Able == blocks.Yes && dst.Tokens.Support.Able == blocks.Yes {
		// What keeps the two apart, rather than the other command, which one may lack.
		return way{}, able
	}
	return way{}, support
}

// ambiguous looks for a third unit that has a name of one of the ends: the target
// may then take that one.
func (f *units) ambiguous(pair Pair) (remap.Reason, string) {
	for _, end := range []*remap.Node{pair.Dst, pair.Src} {
		same, err := f.sameIdentity(end)
		switch {
		case err != nil:
			return ReasonProbeFailed, err.Error()
		case len(same.Duplicates) > 0:
			return ReasonDuplicate, fmt.Sprintf("%s and %s both have the identity %s", end.Name, strings.Join(same.Duplicates, ", "), end.Leaf.Identity)
		case pair.Src.Dev == pair.Dst.Dev: // the name is that of the unit which gets the command
			return "", ""
		}
		if name, other := f.sharedDesignator(end, same.Paths); other != "" {
			return ReasonDuplicate, fmt.Sprintf("%s and %s both have the identity %v", end.Name, other, name)
		}
	}
	return "", ""
}

func (f *units) sameIdentity(leaf *remap.Node) (scsi.SameIdentity, error) {
	if f.open.SameIdentity == nil {
		return scsi.SameIdentity{}, nil
	}
	return f.open.SameIdentity(leaf)
}

// sharedDesignator looks among the units that the finder has identified, which tell all of their
// names, but for other paths to the same unit.
func (f *units) sharedDesignator(end *remap.Node, paths []string) (name scsi.Designator, other string) {
	f.leaves.mu.Lock()
	defer f.leaves.mu.Unlock()
	for dev, other := range f.leaves.found {
		if dev == end.Dev || other.device == nil || slices.Contains(paths, other.name) {
			continue
		}
		if name, found := scsi.CommonDesignator(f.leaves.found[end.Dev].device, other.device); found {
			return name, other.name
		}
	}
	return scsi.Designator{}, ""
}

func (f *units) unit(ctx context.Context, leaf *remap.Node) unit {
	return f.leaves.find(ctx, leaf, f.identifyUnit)
}

// identifyUnit asks a leaf, through what is open to it already if that leads anywhere. Else it asks
// first without the right to write: letting a disk go that was open for writing makes udev look at it
// again, and most disks cannot copy.
func (f *units) identifyUnit(ctx context.Context, leaf *remap.Node, open scsi.Transport) unit {
	if open != nil {
		if u := probeUnit(ctx, leaf, open); u.device != nil || ctx.Err() != nil {
			return u
		}
	}
	u := f.askUnit(ctx, leaf, false)
	if u.transport == nil {
		return u
	}
	err := u.transport.Close()
	u.transport = nil
	if err != nil {
		return failedUnit(err)
	}
	if u.reason != "" {
		return u
	}
	return f.askUnit(ctx, leaf, true)
}

func (f *units) askUnit(ctx context.Context, leaf *remap.Node, write bool) unit {
	transport, err := f.open.SCSI(leaf, write)
	if err != nil {
		return failedUnit(err)
	}
	return probeUnit(ctx, leaf, &attentiveUnit{transport, func() { f.leaves.epochs.meet(leaf.Dev) }})
}

// probeUnit probes a leaf. A unit that cannot copy is known nevertheless: others
// must not have its name.
func probeUnit(ctx context.Context, leaf *remap.Node, transport scsi.Transport) unit {
	device, err := scsi.Probe(ctx, transport)
	if err != nil {
		u := failedUnit(err)
		u.transport = transport
		return u
	}
	u := unit{name: leaf.Name, device: device, transport: transport}
	if !device.Copies() {
		u.reason, u.detail = remap.Reason(device.Support.Reason), device.Support.Detail
		return u
	}
	u.reason, u.detail = mistakenUnit(device, leaf)
	return u
}

func failedUnit(err error) unit {
	reason := ReasonProbeFailed
	if errors.Is(err, fs.ErrPermission) {
		reason = ReasonPermission
	}
	return unit{reason: reason, detail: err.Error()}
}

// mistakenUnit makes sure that the unit behind the name is the one of the
// snapshot: names pass from device to device.
func mistakenUnit(d *scsi.Device, leaf *remap.Node) (remap.Reason, string) {
	switch size := int64(d.Capacity.Blocks) * int64(d.Capacity.BlockSize); {
	case !d.Called(leaf.Leaf.Identity):
		return ReasonIdentity, fmt.Sprintf("%s no longer has the identity %q", leaf.Name, leaf.Leaf.Identity)
	case size != leaf.Size.Bytes():
		return ReasonIdentity, fmt.Sprintf("%s has %d bytes instead of %d", leaf.Name, size, leaf.Size.Bytes())
	case int(d.Capacity.BlockSize) != leaf.BlockSize:
		return ReasonIdentity, fmt.Sprintf("%s has blocks of %d bytes instead of %d", leaf.Name, d.Capacity.BlockSize, leaf.BlockSize)
	}
	return "", ""
}

// unitCopier is what issues the commands of one method.
type unitCopier interface {
	CopyGuarded(context.Context, []blocks.Piece, boottime.Limit, scsi.Guard) (*blocks.Result, error)
	InFlight() int
}

// copier returns what issues commands for a pair.
func (f *units) copier(ctx context.Context, pair Pair, opt CopyOptions) (Copier, error) {
	again := f.pair(ctx, Pair{Src: pair.Src, Dst: pair.Dst})
	if again.Method == "" {
		return nil, &Withdrawn{again.Reason, again.Detail}
	}
	budget := f.budgets.of(again.Domain)
	copier, ends, err := f.leaves.copier(pair, func(ends [2]*scsi.Device) (unitCopier, error) {
		opts := blocks.Options{InFlight: opt.InFlight, Timeout: opt.Timeout, Logger: opt.Log, Budget: budget}
		if again.Method == SCSIODX {
			return scsi.NewTokenCopier(ends[0], ends[1], opts)
		}
		return scsi.NewCopier(ends[0], ends[1], opts)
	})
	if err != nil {
		return nil, err
	}
	c := newSCSICopier(ends[1], copier, opt)
	c.leave = budget.Join(user(opt, c), [2]remap.Dev{pair.Src.Dev, pair.Dst.Dev}, copier.InFlight())
	return c, nil
}
