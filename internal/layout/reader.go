package layout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// attempts is how often a layout is read that changes meanwhile, with a longer
// pause each time: a device lets go of its old table a moment after the swap
// (drivers/md/dm-ioctl.c, do_resume).
const (
	attempts = 3
	pause    = 50 * time.Millisecond
)

// Options say where a Reader reads from.
type Options struct {
	// FS is the root of sys, dev and proc; empty for that of this machine.
	FS sysblock.FS
	// DM answers for mapped devices. If it is nil, the kernel of this machine
	// is asked, and only once a mapped device is met.
	DM *dmtable.Control
	// TakeMetadataSnaps lets the Reader take metadata snapshots of thin pools, without
	// which thin volumes are not mapped. They are held until Close.
	TakeMetadataSnaps bool
	// State is the directory where it is written down which ones were taken.
	State string
	// Trust is for the snapshots that are made.
	Trust Trust
	// Log may be nil.
	Log *slog.Logger
}

// DefaultState is where it is written down which metadata snapshots were
// taken. It has to survive a reboot, as they do.
const DefaultState = "/var/lib/dmcopy"

// Trust is what the operator lets a source be read without.
type Trust = dmtable.Trust

// Reader reads the stacks of a machine. It is safe for concurrent use.
type Reader struct {
	fs        sysblock.FS
	log       *slog.Logger
	holdRoots bool
	stateDir  string
	trust     Trust

	mu     sync.Mutex
	dm     *dmtable.Control
	opened bool // dm was opened by the Reader
	roots  map[remap.Dev]*heldRoot
	stores map[remap.Dev]lastStore

	// attempts and pause are the constants of these names outside of tests.
	attempts int
	pause    time.Duration
}

// lastStore is what was read last of the store of a snapshot.
type lastStore struct {
	of    storeKey
	store *exstore.Store
}

// storeKey is what has to be equal for a store to be the one that was read: the
// tables of the snapshot and of its copy-on-write device, and that neither has
// been made anew with the same table.
type storeKey struct {
	snapshot, cow       remap.Fingerprint
	snapshotSeq, cowSeq uint64
}

// NewReader makes a Reader.
func NewReader(o Options) *Reader {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reader{
		fs: o.FS, log: o.Log, dm: o.DM, holdRoots: o.TakeMetadataSnaps, stateDir: cmp.Or(o.State, DefaultState), trust: o.Trust,
		roots: make(map[remap.Dev]*heldRoot), stores: make(map[remap.Dev]lastStore), attempts: attempts, pause: pause,
	}
}

// Close gives back what the Reader has taken and closes what it opened.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := []error{r.releaseRoots()}
	if r.opened {
		errs = append(errs, r.dm.Close())
		r.dm, r.opened = nil, false
	}
	return errors.Join(errs...)
}

// Renew gives back the metadata snapshots of thin pools: the next ones have the
// blocks that volumes were given since.
func (r *Reader) Renew() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.releaseRoots()
}

func (r *Reader) releaseRoots() error {
	var errs []error
	for _, h := range r.roots {
		errs = append(errs, h.release())
	}
	clear(r.roots)
	return errors.Join(errs...)
}

// hold takes a metadata snapshot of a pool, unless it is there already and as
// new as the transaction of the pool.
func (r *Reader) hold(pool *dmtable.Table) (*heldRoot, error) {
	dm, err := r.control()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.roots[pool.Dev]; h != nil {
		now, err := h.current()
		switch {
		case err != nil && !errors.Is(err, errAnotherPool):
			return nil, err
		case err == nil && now.HeldRoot == h.root && now.Transaction == h.transaction:
			return h, nil
		}
		// It is old, or somebody has released it: what it told is true no more.
		delete(r.roots, pool.Dev)
		if err := h.release(); err != nil {
			return nil, err
		}
	}
	h, err := holdRoot(dm, r.stateDir, pool)
	if err != nil {
		return nil, err
	}
	r.roots[pool.Dev] = h
	return h, nil
}

// store returns what was read last of a store, nil if it is another one now.
func (r *Reader) store(dev remap.Dev, key storeKey) *exstore.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := r.stores[dev]; last.of == key {
		return last.store
	}
	return nil
}

// keep notes what was read of a store; nil forgets it.
func (r *Reader) keep(dev remap.Dev, key storeKey, s *exstore.Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[dev] = lastStore{key, s}
}

// errDenied is about this process and not about a device.
var errDenied = errors.New("not allowed to ask for mapped devices")

// control returns the interface to device-mapper, which needs root and a
// kernel module, and is therefore opened as late as possible.
func (r *Reader) control() (*dmtable.Control, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dm != nil {
		return r.dm, nil
	}
	dm, err := dmtable.Open()
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", errDenied, err)
	}
	if err != nil {
		return nil, err
	}
	r.dm, r.opened = dm, true
	return dm, nil
}

// Read reads the given devices and everything below them; without devices, all
// block devices of the machine. What changes meanwhile is read again a few times.
// A device that keeps changing, or that something is wrong with, is in the snapshot
// as well, opaque and with the reason: it is no reason not to see the others. Only
// a device that was asked for and is gone is an error, sysblock.ErrGone.
func (r *Reader) Read(ctx context.Context, devs ...remap.Dev) (*Snapshot, error) {
	return r.steadily(ctx, devs, func(s *Snapshot) error { return r.addMetadata(ctx, s) })
}

// Tables reads the given devices and everything below them by tables alone: whatever has a
// map on disk is opaque, and nothing is read of any device. What is gone is left out, and
// what may not be asked for is opaque.
func (r *Reader) Tables(ctx context.Context, devs ...remap.Dev) (*Snapshot, error) {
	return r.steadily(ctx, devs, nil)
}

// steadily reads until nothing changes meanwhile. Without complete, tables are all that is
// read.
func (r *Reader) steadily(ctx context.Context, devs []remap.Dev, complete func(*Snapshot) error) (*Snapshot, error) {
	for attempt := 1; ; attempt++ {
		s, err := r.readOnce(ctx, devs, complete)
		var raced error
		switch {
		case err == nil:
			raced = s.raced
		case errors.Is(err, sysblock.ErrGone):
			raced = err
		}
		if raced == nil || attempt == r.attempts {
			return s, err
		}
		r.log.Debug("layout changed while it was read", "attempt", attempt, "err", raced)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(attempt) * r.pause):
		}
	}
}

func (r *Reader) readOnce(ctx context.Context, devs []remap.Dev, complete func(*Snapshot) error) (*Snapshot, error) {
	kernel, err := r.fs.Kernel()
	if err != nil {
		return nil, err
	}
	queue := slices.Clone(devs)
	if len(devs) == 0 {
		if queue, err = r.fs.Devs(); err != nil {
			return nil, err
		}
	}
	s := &Snapshot{trust: r.trust, Schema: Schema, Created: time.Now().UTC().Round(time.Second), Kernel: kernel, SharedGroups: r.fs.SharesGroups()}
	of, seen := r.devices(), make(map[remap.Dev]bool)
	for ; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := of.node(queue[0])
		if errors.Is(err, errDenied) && complete == nil {
			n, err = of.denied(queue[0], err)
		}
		switch {
		case errors.Is(err, sysblock.ErrGone) && complete == nil && slices.Contains(devs, queue[0]):
			continue
		case errors.Is(err, sysblock.ErrGone) && !slices.Contains(devs, queue[0]):
			s.raced = err // it has gone since it was listed, or was found below another one
			continue
		case err != nil:
			return nil, err
		}
		if passes(n.Cause()) {
			s.raced = n.Cause()
		}
		s.Nodes = append(s.Nodes, *n)
		queue = append(queue, n.below()...)
	}
	slices.SortFunc(s.Nodes, func(a, b Node) int { return sysfs.CompareDevs(a.Dev, b.Dev) })
	s.cutImpossible()
	if complete == nil {
		return s, nil
	}
	return s, complete(s)
}
