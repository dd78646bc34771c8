package layout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/internal/bcache"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/mdraid"
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
	// HoldRoots lets the Reader take metadata snapshots of thin pools, without
	// which thin volumes are not mapped. They are held until Close.
	HoldRoots bool
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
		fs: o.FS, log: o.Log, dm: o.DM, holdRoots: o.HoldRoots, stateDir: cmp.Or(o.State, DefaultState), trust: o.Trust,
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

// passes tells whether reading a device again may help: it contradicts itself, or the
// kernel fails to tell, as it does of what comes or goes. Which errno it gives is up to
// each file: ENOENT for directories that are taken away one by one
// (block/genhd.c, del_gendisk), ENODEV (fs/kernfs/file.c), ENXIO for mapped devices,
// EINVAL (drivers/md/dm-sysfs.c, dm_attr_show), EBUSY (drivers/md/md.c,
// md_attr_show), EIO. So every one counts.
func passes(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || isRace(err)
}

// isRace tells whether something was not what it was a moment before.
func isRace(err error) bool {
	return errors.Is(err, ErrRace) || errors.Is(err, sysblock.ErrGone) || errors.Is(err, dmtable.ErrNoDevice) || errors.Is(err, dmtable.ErrRace) ||
		errors.Is(err, mdraid.ErrGone) || errors.Is(err, mdraid.ErrUnsteady) || errors.Is(err, mdraid.ErrNotArray) ||
		errors.Is(err, bcache.ErrGone) || errors.Is(err, bcache.ErrUnsteady) || errors.Is(err, bcache.ErrNotBcache)
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
	seen := make(map[remap.Dev]bool)
	for ; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.node(queue[0])
		if errors.Is(err, errDenied) && complete == nil {
			n, err = r.denied(queue[0], err)
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
	slices.SortFunc(s.Nodes, func(a, b Node) int { return sysblock.CompareDevs(a.Dev, b.Dev) })
	s.ground()
	if complete == nil {
		return s, nil
	}
	return s, complete(s)
}

// denied is a device that may not be asked for.
func (r *Reader) denied(dev remap.Dev, why error) (*Node, error) {
	facts, err := r.fs.Facts(dev)
	if err != nil {
		return nil, err
	}
	n := &Node{Facts: *facts}
	n.mistrust(why)
	return n, nil
}

// node reads one device. The error is sysblock.ErrGone, or about the machine as a
// whole; what is wrong with the device is noted in the node.
func (r *Reader) node(dev remap.Dev) (*Node, error) {
	n, err := r.steady(dev)
	if err == nil && n.Unread == "" {
		err = n.check()
	}
	switch {
	case err == nil && n.Unread != "":
		n.mistrust(n.Cause())
		return n, nil
	case err == nil:
		return n, nil
	case errors.Is(err, errDenied):
		return nil, err
	}
	facts, factsErr := r.fs.Facts(dev)
	if factsErr != nil {
		return nil, factsErr
	}
	n = &Node{Facts: *facts}
	n.mistrust(err)
	return n, nil
}

// steady reads one device: its vitals before and after everything else, so that
// the facts belong to them.
func (r *Reader) steady(dev remap.Dev) (*Node, error) {
	vitals, err := r.fs.Vitals(dev)
	if err != nil {
		return nil, err
	}
	n, table, err := r.read(dev)
	if err != nil {
		return nil, err
	}
	again, err := r.fs.Vitals(dev)
	if err == nil && again != vitals {
		err = &Error{n.describe(), ErrRace}
	}
	n.print = fingerprint(vitals, table)
	return n, err
}

// read reads everything about a device. The print is that of the table of a
// mapped device, or of an array.
func (r *Reader) read(dev remap.Dev) (n *Node, print remap.Fingerprint, err error) {
	facts, err := r.fs.Facts(dev)
	if err != nil {
		return nil, print, err
	}
	n = &Node{Facts: *facts}
	if n.Unread != "" {
		return n, print, nil
	}
	switch n.Kind {
	case sysblock.MD:
		return r.readArray(n)
	case sysblock.DM:
		return r.readTable(n)
	case sysblock.Bcache:
		return r.readBcache(n)
	case sysblock.Loop:
		n.Loop, err = r.fs.LoopFile(facts)
		return n, print, err
	}
	return n, print, nil
}

func (r *Reader) readArray(n *Node) (_ *Node, print remap.Fingerprint, err error) {
	if n.MD, err = mdraid.Read(mdraid.FS(r.fs), n.Dev); err != nil {
		return nil, print, err
	}
	for _, dev := range n.MD.Below() {
		if !slices.Contains(n.Slaves, dev) {
			return nil, print, &Error{n.describe(), fmt.Errorf("%w: member %s is not among the slaves", ErrRace, dev)}
		}
	}
	return n, n.MD.Print(), nil
}

func (r *Reader) readBcache(n *Node) (_ *Node, print remap.Fingerprint, err error) {
	if n.Bcache, err = bcache.Read(bcache.FS(r.fs), n.Dev); err != nil {
		return nil, print, err
	}
	if !slices.Equal(n.Bcache.Below(), n.Slaves) || n.Bcache.Size != n.Size {
		return nil, print, &Error{n.describe(), fmt.Errorf("%w: a cache comes or goes", ErrRace)}
	}
	return n, n.Bcache.Print(), nil
}

func (r *Reader) readTable(n *Node) (_ *Node, print remap.Fingerprint, err error) {
	dm, err := r.control()
	if err != nil {
		return nil, print, err
	}
	if n.DM, err = dm.Table(n.Dev); err != nil {
		return nil, print, err
	}
	if err := n.checkTable(); err != nil {
		return nil, print, &Error{n.describe(), r.unplugged(n, err)}
	}
	return n, n.DM.Print, nil
}

// unplugged tells whether a table contradicts sysfs only because it holds a disk that is
// gone, which it does for as long as it lives: that is no race. The error is the
// given one if not.
func (r *Reader) unplugged(n *Node, otherwise error) error {
	for _, dev := range n.DM.Deps {
		if _, err := r.fs.Vitals(dev); errors.Is(err, sysblock.ErrGone) {
			return fmt.Errorf("it holds %s, which is gone", dev)
		}
	}
	return otherwise
}

// below lists the devices that the node rests on.
func (n *Node) below() []remap.Dev {
	switch {
	case n.Part != nil:
		return []remap.Dev{n.Part.Parent}
	case n.DM != nil:
		return n.DM.Deps
	case n.Loop != nil && n.Loop.Block != nil:
		return []remap.Dev{*n.Loop.Block}
	}
	return n.Slaves
}

// checkTable compares the table with sysfs, which was read before: if they
// contradict each other, the table was swapped in between.
func (n *Node) checkTable() error {
	for _, dev := range n.DM.Named() {
		if !slices.Contains(n.DM.Deps, dev) {
			return fmt.Errorf("%w: the table maps to %s but does not hold it", ErrRace, dev)
		}
	}
	for _, dev := range n.DM.Deps {
		if !slices.Contains(n.Slaves, dev) {
			return fmt.Errorf("%w: the table holds %s, which is not among the slaves", ErrRace, dev)
		}
	}
	// A staged table holds its devices too, and they are slaves already.
	if !n.DM.Staged && len(n.Slaves) != len(n.DM.Deps) {
		return fmt.Errorf("%w: %d slaves, the table holds %d devices", ErrRace, len(n.Slaves), len(n.DM.Deps))
	}
	if n.DM.Active && n.DM.Size() != n.Size && !n.DM.SizesItself() {
		return fmt.Errorf("%w: the device has %d sectors, the table %d", ErrRace, n.Size, n.DM.Size())
	}
	return nil
}

// fingerprint digests everything that the map and the identity of a device
// depend on.
func fingerprint(v sysblock.Vitals, table remap.Fingerprint) remap.Fingerprint {
	return sha256.Sum256(fmt.Appendf(nil, "%+v %x", v, table))
}

// Changes compares every device of a stack that this process read before with
// what it is now. It reads all tables but parses none. No changes mean that
// the layout is the one of the stack.
func (r *Reader) Changes(ctx context.Context, st *remap.Stack) ([]remap.Change, error) {
	var changes []remap.Change
	for _, n := range st.Nodes() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := r.change(ctx, n)
		if err != nil {
			return nil, err
		}
		if c.What != "" {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// change says what became of one device; What is empty if nothing did. Nothing is
// mapped through a device that was not read as a whole, so that it may change as it likes
// as long as it is there. A look that fails is taken again, and if that does not help, it
// tells of no device that it is what it was.
func (r *Reader) change(ctx context.Context, n *remap.Node) (remap.Change, error) {
	for attempt := 1; ; attempt++ {
		c, err := r.look(n)
		switch {
		case err == nil, errors.Is(err, errDenied):
			return c, err
		case !passes(err) || attempt == r.attempts:
			c.What = "cannot be read: " + oneLine(err.Error())
			return c, nil
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(time.Duration(attempt) * r.pause):
		}
	}
}

func (r *Reader) look(n *remap.Node) (remap.Change, error) {
	c := remap.Change{Dev: n.Dev, Name: n.DisplayName()}
	vitals, err := r.fs.Vitals(n.Dev)
	switch {
	case errors.Is(err, sysblock.ErrGone):
		c.What, c.Gone = "gone", true
		return c, nil
	case n.Unread:
		return c, nil
	case err != nil:
		return c, err
	}
	print, transition, err := r.state(n.Dev, vitals.Kind)
	switch {
	case errors.Is(err, dmtable.ErrNoDevice), errors.Is(err, mdraid.ErrGone), errors.Is(err, bcache.ErrGone):
		c.What, c.Gone = "gone", true
	case err != nil:
		return c, err
	case n.Leaf != nil && n.Size > 0 && vitals.Size == 0:
		// It is on its way out (drivers/nvme/host/core.c, nvme_ns_remove), or has no medium any more.
		c.What, c.Gone = "gone", true
	case fingerprint(vitals, print) != n.Print:
		c.What = "layout changed"
	case transition != "":
		c.What, c.Moving = transition, true
	}
	return c, nil
}

// state reads what tells whether the map of a device is still the one that was
// read, and whether it is about to change.
func (r *Reader) state(dev remap.Dev, kind sysblock.Kind) (print remap.Fingerprint, transition string, err error) {
	switch kind {
	case sysblock.DM:
		dm, err := r.control()
		if err != nil {
			return print, "", err
		}
		s, err := dm.State(dev)
		return s.Print, s.Transition, err
	case sysblock.MD:
		s, err := mdraid.ReadState(mdraid.FS(r.fs), dev)
		return s.Print, s.Transition, err
	case sysblock.Bcache:
		s, err := bcache.ReadState(bcache.FS(r.fs), dev)
		return s.Print, s.Transition, err
	}
	return print, "", nil
}
