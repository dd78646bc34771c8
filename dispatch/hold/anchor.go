package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// expiry is how long an anchor holds if nobody releases or extends it. It is
// several windows long, and short enough that a crash disturbs nobody much.
const expiry = 4 * time.Second

// slice is what the throttle counts time in, at most: it rounds the time that a bio has
// waited up to whole slices (block/blk-throttle.c, DFL_THROTL_SLICE_HD and
// tg_within_bps_limit).
const slice = 100 * time.Millisecond

// Anchor keeps reads in flight through the dm and md devices of one
// destination. It is made once per copy and dropped once per window.
type Anchor struct {
	group  *cgroup
	credit map[remap.Dev]int64
	held   *helper // inside of the group: its reads are throttled
	probe  *helper // outside: its reads pass
	device *os.File
	sysfs  string
	kernel version
	log    *slog.Logger
}

// NewAnchor prepares anchors for the destination dev with the device node path.
// The error wraps ErrUnavailable where the machine cannot throttle.
func NewAnchor(path string, dev remap.Dev, log *slog.Logger) (*Anchor, error) {
	a, err := newAnchor(path, dev, log)
	if err != nil {
		return nil, fail("anchor", path, errors.Join(ErrUnavailable, err))
	}
	return a, nil
}

func newAnchor(path string, dev remap.Dev, log *slog.Logger) (*Anchor, error) {
	device, err := openDevice(path, dev)
	if err != nil {
		return nil, err
	}
	a := &Anchor{device: device, sysfs: "/sys", kernel: running(), log: log, credit: make(map[remap.Dev]int64)}
	if a.group, err = newCgroup("/proc/self/mountinfo"); err == nil {
		a.held, err = startHelper(device, a.group, "")
	}
	if err == nil {
		a.probe, err = startHelper(device, nil, a.group.estate())
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
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
	if st.Mode&unix.S_IFMT != unix.S_IFBLK || unix.Major(st.Rdev) != dev.Major || unix.Minor(st.Rdev) != dev.Minor {
		return nil, errors.Join(fmt.Errorf("%s is not %s any more", path, dev), f.Close())
	}
	return f, nil
}

// Close ends the helpers and removes the cgroup.
func (a *Anchor) Close() error {
	var errs [2]error
	var ending sync.WaitGroup
	for i, h := range []*helper{a.held, a.probe} {
		if h != nil {
			ending.Go(func() { errs[i] = h.close(expiry + replyGrace) })
		}
	}
	ending.Wait()
	err := errors.Join(errs[:]...)
	if a.group != nil {
		err = errors.Join(err, a.group.remove())
	}
	return errors.Join(err, a.device.Close())
}

// dropped is an anchor in flight.
type dropped struct {
	anchor *Anchor
	ids    []int
	leaves map[remap.Dev]*budget
	until  atomic.Int64 // boottime.Instant
	ended  bool         // it was seen that a read has ended
	locks  groupLocks
}

// budget is what the throttle of one leaf still withholds from the anchor.
type budget struct {
	bytes int64     // not yet let through at the time below
	rate  int64     // bytes per second
	since time.Time // when the rate was set
	all   int64     // bytes of its reads
	least int64     // bytes of the shortest read, which can be the first to be let go
}

// passed is what the throttle has let through since the rate was set, in bytes.
func (b *budget) passed(now time.Time) int64 {
	return int64(now.Sub(b.since).Seconds() * float64(b.rate))
}

// firstEnd is when the first read of the leaf can be let go, now that the rate has been
// set between began and ended, and was another one before. Until it is set, the old rate
// lets bytes pass.
func (b *budget) firstEnd(before int64, began, ended boottime.Instant) boottime.Instant {
	passed := int64(math.Ceil(ended.Sub(began).Seconds() * float64(before)))
	left := max(b.bytes-passed-(b.all-b.least), 0)
	return began.Add(time.Duration(float64(left)/float64(b.rate)*float64(time.Second)) - slice)
}

// drop puts an anchor in flight and proves that it is.
func (a *Anchor) drop(ctx context.Context, req Request) (*dropped, error) {
	chains := cover(req.Chains)
	if err := a.holdable(chains); err != nil {
		return nil, fail("anchor", a.device.Name(), errors.Join(err, ErrUnavailable))
	}
	spans, leaves := spansOf(chains)
	d := &dropped{anchor: a, leaves: leaves}
	err := a.spend(leaves)
	if err == nil {
		err = d.throttle()
	}
	if err == nil {
		d.ids, err = a.held.read(spans)
	}
	if err != nil {
		return nil, errors.Join(fail("anchor", a.device.Name(), err), ErrUnavailable, d.Release())
	}
	if err := a.prove(ctx, d, chains, spans, req.Deadline); err != nil {
		d.ids = nil // they end with what they are queued behind, we do not wait
		return nil, errors.Join(fail("anchor", a.device.Name(), err), d.Release())
	}
	return d, nil
}

// spansOf chooses one read per chain, and adds up what each leaf withholds.
func spansOf(chains []Chain) ([]span, map[remap.Dev]*budget) {
	leaves := make(map[remap.Dev]*budget)
	var spans []span
	for _, c := range chains {
		length := min(c.Len, maxRead).Bytes()
		spans = append(spans, span{Offset: c.Start.Bytes(), Length: int(length)})
		if leaves[c.Leaf] == nil {
			leaves[c.Leaf] = &budget{}
		}
		b := leaves[c.Leaf]
		b.bytes += length
		b.all += length
		if b.least == 0 || length < b.least {
			b.least = length
		}
	}
	return spans, leaves
}

// spend takes the credit of earlier anchors off the budgets. When its limit
// changes, the throttle credits a group with what it has not used of the time
// that it waited (block/blk-throttle.c, tg_update_carryover), and so lets the
// next anchor go early. A group with much credit is replaced by a new one.
func (a *Anchor) spend(leaves map[remap.Dev]*budget) error {
	for leaf, b := range leaves {
		if a.credit[leaf] <= b.bytes/2 {
			b.bytes -= a.credit[leaf]
			continue
		}
		a.credit = make(map[remap.Dev]int64)
		return a.group.renew(a.held.cmd.Process.Pid)
	}
	return nil
}

// prove makes sure that the anchor is in flight and not merely queued. If a
// suspend was under way when the anchor was submitted, dm has put it into its
// queue of deferred bios (drivers/md/dm.c, queue_io), and then a read from
// outside of the cgroup hangs as well. A read that completes proves that
// nobody was suspending; and every device of the chains must then count a read
// in flight, because a deferred bio is not counted.
func (a *Anchor) prove(ctx context.Context, d *dropped, chains []Chain, spans []span, deadline time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	completed, err := a.probe.probe(spans, min(deadline, expiry/2))
	if err != nil {
		return fmt.Errorf("probe: %w", errors.Join(err, ErrUnavailable))
	}
	if !completed {
		return ErrContended
	}
	for _, c := range chains {
		for _, node := range c.Nodes {
			n, err := a.readsInFlight(node)
			if err != nil {
				return errors.Join(err, ErrUnavailable)
			}
			if n < 1 {
				return fmt.Errorf("%s counts no read in flight: %w", node, ErrContended)
			}
		}
	}
	return d.Check()
}

// readsInFlight reads what a device counts (Documentation/ABI/stable/sysfs-block,
// inflight: reads, then writes).
func (a *Anchor) readsInFlight(dev remap.Dev) (int, error) {
	path := filepath.Join(a.sysfs, "dev/block", dev.String(), "inflight")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0, fmt.Errorf("%s: unexpected content %q", path, text)
	}
	return strconv.Atoi(fields[0])
}

// throttle sets the rate of every leaf so that what it still withholds from
// the anchor lasts for another expiry.
func (d *dropped) throttle() error {
	until := boottime.Forever
	for leaf, b := range d.leaves {
		began, now := boottime.Now(), time.Now()
		passed, before := b.passed(now), b.rate
		b.bytes -= passed
		d.anchor.credit[leaf] += passed
		b.rate = max(b.bytes*int64(time.Second)/int64(expiry), 1)
		b.since = now
		if err := d.anchor.group.throttle(leaf, b.rate); err != nil {
			return err
		}
		until = min(until, b.firstEnd(before, began, boottime.Now()))
	}
	d.until.Store(max(d.until.Load(), int64(until)))
	return nil
}

// Deadline implements [Held].
func (d *dropped) Deadline() boottime.Instant { return boottime.Instant(d.until.Load()) }

// Check implements [Held]: every read of the anchor must still be in flight.
// The helper looks into the completion ring when it is asked, so that an
// anchor that ended before the question cannot pass. It tells of the end of a
// read once; what is lost stays lost.
func (d *dropped) Check() error {
	done, err := d.anchor.held.ended(d.ids, 0)
	d.ended = d.ended || err != nil || len(done) > 0
	if d.ended {
		return fail("anchor", d.anchor.device.Name(), errors.Join(err, ErrLost))
	}
	return nil
}

// Extend implements [Held]. The throttle keeps account of what it has let
// through when its rate changes (block/blk-throttle.c, tg_update_carryover),
// so that a lower rate moves the end of the read away.
func (d *dropped) Extend() error {
	if d.Deadline().Sub(boottime.Now()) > expiry/2 {
		return nil
	}
	if err := d.throttle(); err != nil {
		return errors.Join(err, ErrLost)
	}
	return d.Check()
}

// Release implements [Held].
func (d *dropped) Release() error {
	var errs []error
	for leaf, b := range d.leaves {
		d.anchor.credit[leaf] += b.passed(time.Now())
		errs = append(errs, d.anchor.group.throttle(leaf, 0))
	}
	if len(d.ids) > 0 {
		_, err := d.anchor.held.ended(d.ids, expiry)
		errs = append(errs, fail("anchor", d.anchor.device.Name(), err))
		d.ids = nil
	}
	return errors.Join(append(errs, d.locks.Close())...)
}
