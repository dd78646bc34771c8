package hold

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// Mode is the operator's choice of what holds a mapped destination.
type Mode string

const (
	// Auto uses the anchor, and for LVM volumes the lock of the volume group
	// in addition.
	Auto Mode = "auto"
	// Trust takes the operator's word that nobody changes the layout.
	Trust Mode = "trust"
	// None never offloads onto a mapped destination.
	None Mode = "none"
)

var (
	// ErrUnavailable: nothing on this machine can hold the layout.
	ErrUnavailable = errors.New("the layout of the destination cannot be held")
	// ErrContended: somebody is changing the layout at this moment, or waits
	// to. It is worth asking again later.
	ErrContended = errors.New("the layout of the destination is being changed")
	// ErrSlow: a read of the destination takes so long that whoever changes
	// the layout would have to wait for too long.
	ErrSlow = errors.New("the destination is too slow to be held")
	// ErrLost: the hold ended before it was released.
	ErrLost = errors.New("the hold on the destination was lost")
)

// Chain is one way from the destination device down to a leaf.
type Chain struct {
	// Start and Len are a run of sectors on the destination device that takes
	// this way and is contiguous at the leaf.
	Start, Len remap.Sector
	// Nodes are the devices on the way whose map the kernel could swap.
	Nodes []remap.Dev
	// Leaf is the device at the end.
	Leaf remap.Dev
}

// Request is what a window asks to be held.
type Request struct {
	Chains []Chain
	// Groups are the LVM volume groups of the nodes.
	Groups []string
	// Deadline bounds the wait for locks and probes.
	Deadline time.Duration
}

// Held is a layout that is being held.
type Held interface {
	// Check proves that the layout was held without a gap until now. Any
	// error means that it was not.
	Check() error
	// Extend moves the expiry away, for commands that take unusually long.
	Extend() error
	// Deadline is until when the layout is held even if nobody does anything any
	// more, as when this process is stopped; it is boottime.Forever for what does not
	// end by itself. Extend moves it away, and it never comes nearer. It is cheap,
	// and can be asked for while any of the others is under way.
	Deadline() boottime.Instant
	// Release lets everybody pass. It is safe to call after a failed Check.
	Release() error
}

// Holder holds the layout of one destination, window by window.
type Holder struct {
	mode  Mode
	path  string
	dev   remap.Dev
	locks string
	log   *slog.Logger

	anchor *Anchor
	failed error // of making the anchor; it is not tried twice
}

// NewHolder returns a holder for the destination dev with the device node path.
func NewHolder(mode Mode, path string, dev remap.Dev, log *slog.Logger) *Holder {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Holder{mode: mode, path: path, dev: dev, locks: defaultLockDir, log: log}
}

// Ready prepares holding a mapped destination. Its error wraps ErrUnavailable.
func (h *Holder) Ready() error {
	switch {
	case h.mode == Trust:
		return nil
	case h.mode == None:
		return fail("nothing", h.path, ErrUnavailable)
	case h.anchor == nil && h.failed == nil:
		h.anchor, h.failed = NewAnchor(h.path, h.dev, h.log)
	}
	return h.failed
}

// Hold keeps the layout of the request still until the result is released.
// A request without mutable nodes is held by the open descriptor alone.
// The error wraps ErrUnavailable, ErrSlow or ErrContended.
func (h *Holder) Hold(ctx context.Context, req Request) (Held, error) {
	if !needsHold(req) {
		return descriptor{}, nil
	}
	if err := h.Ready(); err != nil {
		return nil, err
	}
	if h.mode == Trust {
		return descriptor{}, nil
	}
	locks, err := lockGroups(ctx, h.locks, req.Groups, req.Deadline)
	if err != nil {
		return nil, err
	}
	held, err := h.anchor.hold(ctx, req)
	if err != nil {
		return nil, errors.Join(err, locks.Close())
	}
	held.locks = locks
	return held, nil
}

// Close gives back what the holder used.
func (h *Holder) Close() error {
	if h.anchor == nil {
		return nil
	}
	return h.anchor.Close()
}

func needsHold(req Request) bool {
	for _, c := range req.Chains {
		if len(c.Nodes) > 0 {
			return true
		}
	}
	return false
}

// descriptor is the hold of an open file: a partition or a whole disk cannot
// be taken away while it is open (block/partitions/core.c, bdev_del_partition
// and blkdev_reread_part fail with EBUSY), and a trusted operator needs none.
type descriptor struct{}

func (descriptor) Check() error               { return nil }
func (descriptor) Extend() error              { return nil }
func (descriptor) Deadline() boottime.Instant { return boottime.Forever }
func (descriptor) Release() error             { return nil }
