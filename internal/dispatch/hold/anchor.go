package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

const (
	// expiry is how long an anchor holds if nobody releases or extends it. It is
	// several windows long, and short enough that a crash disturbs nobody much.
	expiry = 4 * time.Second
	// maxWays bounds the reads of one anchor. A window with more ways from the
	// destination to its disks is not held.
	maxWays = maxReads / 4
	// holdTries is how often an anchor is submitted that is not seen among the
	// reads of others, or ends before it is seen: the machine may be busy.
	holdTries = 3
	// countLooks is how often each is looked for, countPause in between.
	countLooks = 8
	countPause = 2 * time.Millisecond
)

// errUncounted: a device does not count a read more than before.
var errUncounted = errors.New("count no more reads in flight than before")

// Anchor keeps reads in flight through the dm and md devices of one
// destination. It is made once per copy, and holds once per window.
type Anchor struct {
	kernel kernel
	device *os.File
	log    *slog.Logger

	probing probing
	ending  []*anchorRead // released or abandoned, and not known to have ended
}

// NewAnchor prepares anchors for the destination dev with the device node path.
// The error wraps ErrUnavailable where the machine cannot throttle.
func NewAnchor(path string, dev remap.Dev, log *slog.Logger) (*Anchor, error) {
	a, err := newAnchor(path, dev, log)
	if err != nil {
		if !errors.Is(err, ErrUnavailable) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return nil, fail("anchor", path, err)
	}
	return a, nil
}

func newAnchor(path string, dev remap.Dev, log *slog.Logger) (*Anchor, error) {
	device, err := openDevice(path, dev)
	if err != nil {
		return nil, err
	}
	k, err := newSystem(device)
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &Anchor{kernel: k, device: device, log: log}, nil
}

// openDevice opens the node and makes sure that it is the device meant.
func openDevice(path string, dev remap.Dev) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !isNode(st, dev) {
		return nil, errors.Join(fmt.Errorf("%s is not %s any more", path, dev), f.Close())
	}
	return f, nil
}

// isNode tells whether a file is the node of a block device.
func isNode(st unix.Stat_t, dev remap.Dev) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFBLK && unix.Major(st.Rdev) == dev.Major && unix.Minor(st.Rdev) == dev.Minor
}

// Close ends the helpers and removes the cgroups.
func (a *Anchor) Close() error {
	a.removeEnded()
	return errors.Join(a.kernel.close(a.expiry()+replyGrace), a.device.Close())
}

// expiry is how long an anchor holds by itself: on a slow device it takes
// longer to know that it does.
func (a *Anchor) expiry() time.Duration { return expiry + 2*latencyFactor*a.probing.latency }

// readSet is a read for each way, submitted together. A hold begins with one, and is
// renewed by another.
type readSet struct {
	reads  []*anchorRead
	before map[remap.Dev]int // reads that each node counted before
}

// anchorRead is one read, in a group of its own: all reads of one group share one
// budget, and the first of N would go after an Nth of the time.
type anchorRead struct {
	meter
	group string
	leaf  remap.Dev
	id    int // of the read; -1 before it was submitted, and when it has ended
}

// deadline is the moment until which all of the reads are withheld at least.
func (set *readSet) deadline() boottime.Instant {
	earliest := set.reads[0].deadline()
	for _, r := range set.reads {
		earliest = min(earliest, r.deadline())
	}
	return earliest
}

// hold puts an anchor in flight and proves that it is.
func (a *Anchor) hold(ctx context.Context, req Request) (*anchorHold, error) {
	d, err := a.tryHold(ctx, req)
	if err != nil {
		return nil, fail("anchor", a.device.Name(), err)
	}
	return d, nil
}

func (a *Anchor) tryHold(ctx context.Context, req Request) (*anchorHold, error) {
	chains := cover(req.Chains)
	if err := a.holdable(chains); err != nil {
		return nil, errors.Join(err, ErrUnavailable)
	}
	if len(chains) > maxWays {
		return nil, fmt.Errorf("%d ways to its disks, which are more than %d: %w", len(chains), maxWays, ErrUnavailable)
	}
	a.removeEnded()
	for _, leaf := range leavesOf(chains) {
		if err := a.kernel.initThrottle(leaf, maxLatency); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		if err := a.measureLatency(ctx, chains, req.Deadline); err != nil {
			return nil, err
		}
		set, err := a.submitProven(ctx, chains, req.Deadline)
		switch again := try < holdTries; {
		case err == nil:
			d := &anchorHold{anchor: a, chains: chains, current: set}
			d.updateDeadline()
			return d, nil
		case errors.Is(err, ErrLost) && !again:
			return nil, errors.Join(err, ErrUnavailable)
		case !again || !errors.Is(err, ErrLost) && !errors.Is(err, errUncounted):
			return nil, err
		}
	}
}

// leavesOf lists the disks at the ends of the chains.
func leavesOf(chains []Chain) []remap.Dev {
	var leaves []remap.Dev
	for _, c := range chains {
		if !slices.Contains(leaves, c.Leaf) {
			leaves = append(leaves, c.Leaf)
		}
	}
	return leaves
}

// spansOf chooses one read per chain.
func spansOf(chains []Chain) []span {
	var spans []span
	for _, c := range chains {
		spans = append(spans, span{Offset: c.Start.Bytes(), Length: int(min(c.Len, maxRead).Bytes())})
	}
	return spans
}

// submitProven submits reads and proves that they are in flight. Those that are not, or
// not known to be, are let go at once: they would go in flight later, on the next table.
func (a *Anchor) submitProven(ctx context.Context, chains []Chain, wait time.Duration) (*readSet, error) {
	set, err := a.submit(chains)
	if err == nil {
		err = a.prove(ctx, set, chains, wait)
	}
	if err != nil {
		a.abandon(set)
		return nil, err
	}
	return set, nil
}

// submit submits the reads. Its error wraps ErrUnavailable.
func (a *Anchor) submit(chains []Chain) (*readSet, error) {
	set := &readSet{}
	for i, c := range chains {
		group, err := a.kernel.newGroup()
		if err != nil {
			return set, errors.Join(err, ErrUnavailable)
		}
		set.reads = append(set.reads, &anchorRead{group: group, leaf: c.Leaf, id: -1, meter: meter{left: int64(spansOf(chains[i : i+1])[0].Length)}})
	}
	var err error
	if set.before, err = a.counts(chains); err != nil {
		return set, errors.Join(err, ErrUnavailable)
	}
	for i, s := range spansOf(chains) {
		r := set.reads[i]
		if err := a.setRate(r, rateFor(r.left, a.expiry())); err != nil {
			return set, errors.Join(err, ErrUnavailable)
		}
		if r.id, err = a.kernel.read(r.group, s); err != nil {
			r.id = -1
			return set, errors.Join(err, ErrUnavailable)
		}
	}
	return set, nil
}

// setRate gives a read another rate. What has passed until then is counted to the
// moment after it was set, and what passes from then on from the moment before.
func (a *Anchor) setRate(r *anchorRead, rate int64) error {
	before := a.kernel.now()
	if err := a.kernel.limit(r.group, r.leaf, rate); err != nil {
		return err
	}
	r.meter = meter{left: r.withheld(a.kernel.now()), rate: rate, since: before}
	return nil
}

// counts is how many reads each node counts.
func (a *Anchor) counts(chains []Chain) (map[remap.Dev]int, error) {
	counts := make(map[remap.Dev]int)
	for _, c := range chains {
		for _, node := range c.Nodes {
			n, err := a.kernel.inFlight(node)
			if err != nil {
				return nil, err
			}
			counts[node] = n
		}
	}
	return counts, nil
}

// prove makes sure that reads are in flight and not merely queued. If a
// suspend was under way when they were submitted, dm has put them into its queue of
// deferred bios (drivers/md/dm.c, queue_io), and then a read from outside of
// the groups hangs as well. A read that completes proves that nobody was
// suspending; and every device of the chains must then count a read more than
// before, because a deferred bio is not counted.
func (a *Anchor) prove(ctx context.Context, set *readSet, chains []Chain, wait time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	completed, err := a.probe(ctx, chains, max(wait, latencyFactor*a.probing.latency))
	if err != nil {
		return fmt.Errorf("probe: %w", errors.Join(err, ErrUnavailable))
	}
	if !completed {
		return fmt.Errorf("a read does not come back: %w", ErrContended)
	}
	if err := a.checkInFlight(set); err != nil {
		return err // it was not throttled, or the machine is very busy
	}
	if err := a.checkCounted(set, chains); err != nil {
		return err
	}
	return a.checkInFlight(set)
}

// checkCounted looks for the reads among the reads in flight. Others' reads come and
// go meanwhile: it is looked for several times.
func (a *Anchor) checkCounted(set *readSet, chains []Chain) error {
	var missing []remap.Dev
	for range countLooks {
		counts, err := a.counts(chains)
		if err != nil {
			return errors.Join(err, ErrUnavailable)
		}
		missing = nil
		for node, n := range counts {
			if n <= set.before[node] {
				missing = append(missing, node)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		a.kernel.pause(countPause)
	}
	return fmt.Errorf("%v %w: %w", missing, errUncounted, ErrContended)
}

// errExpired: it was not we who let it go.
var errExpired = errors.New("the throttle has let a read go")

// checkInFlight tells, by an error, that a read has ended.
func (a *Anchor) checkInFlight(set *readSet) error {
	err := a.collect(set.reads, 0)
	if err == nil && slices.ContainsFunc(set.reads, func(r *anchorRead) bool { return r.id < 0 }) {
		err = errExpired
	}
	if err != nil {
		return errors.Join(err, ErrLost)
	}
	return nil
}

// collect waits up to timeout for reads, and notes which have ended.
func (a *Anchor) collect(reads []*anchorRead, timeout time.Duration) error {
	var ids []int
	for _, r := range reads {
		if r.id >= 0 {
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	done, err := a.kernel.ended(ids, timeout)
	for _, o := range done {
		for _, r := range reads {
			if r.id == o.ID {
				r.id = -1
			}
		}
	}
	return err
}

// unthrottle lifts the limits of the reads.
func (a *Anchor) unthrottle(set *readSet) error {
	var errs []error
	for _, r := range set.reads {
		errs = append(errs, a.kernel.limit(r.group, r.leaf, 0))
	}
	return errors.Join(errs...)
}

// release lets the reads go and waits until they have ended.
func (a *Anchor) release(set *readSet) error {
	err := a.unthrottle(set)
	err = errors.Join(err, a.collect(set.reads, a.expiry()))
	if slices.ContainsFunc(set.reads, func(r *anchorRead) bool { return r.id >= 0 }) {
		err = errors.Join(err, errors.New("a read was let go and has not come back"))
	}
	a.ending = append(a.ending, set.reads...)
	a.removeEnded()
	return err
}

// abandon lets reads go that may be queued: they end with what they are queued
// behind, and are not waited for.
func (a *Anchor) abandon(set *readSet) {
	if err := a.unthrottle(set); err != nil {
		a.log.Warn("release of an anchor that is not in flight", "error", err)
	}
	a.ending = append(a.ending, set.reads...)
	a.removeEnded()
}

// removeEnded removes the groups of reads that have ended.
func (a *Anchor) removeEnded() {
	if err := a.collect(a.ending, 0); err != nil {
		return // nothing is known of them
	}
	a.ending = slices.DeleteFunc(a.ending, func(r *anchorRead) bool {
		if r.id >= 0 {
			return false
		}
		if err := a.kernel.removeGroup(r.group); err != nil {
			a.log.Debug("cgroup of an anchor", "error", err)
			return false
		}
		return true
	})
}
