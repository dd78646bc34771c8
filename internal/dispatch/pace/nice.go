package pace

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Nice gives way to others: their I/O on the disks of a copy shall take no longer
// than it may.
type Nice struct {
	// Bound is how long a read or write may take on average; 0 is twice what it
	// takes when the copy does nothing.
	Bound time.Duration
	// Stat counts the I/O of a disk.
	Stat func(remap.Dev) (sysblock.IOStat, error)
}

const (
	// quietEvery is how often the copy does nothing for quietTime, to see what others
	// do. Their I/O cannot be told from that of the copy at any other time.
	quietEvery = time.Second
	quietTime  = 50 * time.Millisecond
	// niceFloor is the lowest rate, in bytes a second: the copy comes to its end.
	niceFloor = 1 << 20
	// niceSteps is how many windows it takes from nothing to full speed.
	niceSteps = 16
	// leastBound is the least bound that is found out, rather than given: shorter times
	// cannot be told from each other by a clock of milliseconds.
	leastBound = time.Millisecond
)

// load is what disks have done for a while.
type load struct {
	ios  float64
	time time.Duration // that they were under way, altogether
}

// mean is how long one of them took.
func (l load) mean() time.Duration {
	if l.ios == 0 {
		return 0
	}
	return time.Duration(float64(l.time) / l.ios)
}

// niceness is a rate that falls by half when others have to wait, and grows by equal
// steps when they do not.
type niceness struct {
	*Nice
	log   *slog.Logger
	disks []remap.Dev
	// quiet is what others do, by the latest pauses; older ones count less.
	quiet   load
	at      time.Time // of the latest pause
	speed   float64   // of the latest window, in bytes a second
	limit   float64   // the rate; Unlimited if nobody is to be given way to
	full    float64   // the speed when the limit was set first
	account *account.Account
}

func newNiceness(n *Nice, a *account.Account, log *slog.Logger) niceness {
	return niceness{Nice: n, account: a, log: log, limit: float64(Unlimited)}
}

// rate is the lower one of two rates.
func (n *niceness) rate(other int64) int64 {
	if n.limit < 0 {
		return other
	}
	if own := window.Truncate(n.limit); other < 0 || own < other {
		return own
	}
	return other
}

// most keeps windows so short that others are looked at every now and then.
func (n *niceness) most(limit int64) int64 {
	if n.Nice == nil {
		return limit
	}
	slice := window.Truncate(n.speed * paceSlice.Seconds())
	return min(limit, max(slice-slice%window.Unit, window.InitialSize))
}

// watch has the disks of a layout watched. There is no layout of files.
func (n *niceness) watch(stack *remap.Stack, ends ...remap.Dev) {
	if n.Nice == nil {
		return
	}
	n.disks = nil
	if stack != nil {
		n.find(stack, ends)
	}
	if len(n.disks) == 0 {
		n.log.Warn("others who use the disks are not given way to: it is not known which disks these are")
	}
}

func (n *niceness) find(stack *remap.Stack, ends []remap.Dev) {
	for _, end := range ends {
		for _, node := range stack.Under(end) {
			if node.Leaf != nil && !plan.IsFileDev(node.Dev) && !slices.Contains(n.disks, node.Dev) {
				n.disks = append(n.disks, node.Dev)
			}
		}
	}
}

// count reads the counters of all disks. One that does not answer is gone, or has
// none, and is watched no more.
func (n *niceness) count() map[remap.Dev]sysblock.IOStat {
	counts := make(map[remap.Dev]sysblock.IOStat, len(n.disks))
	n.disks = slices.DeleteFunc(n.disks, func(dev remap.Dev) bool {
		s, err := n.Stat(dev)
		if err != nil {
			n.log.Warn("others who use the disk are not seen", "disk", dev, "error", err)
			return true
		}
		counts[dev] = s
		return false
	})
	return counts
}

// since is what came since.
func (n *niceness) since(before map[remap.Dev]sysblock.IOStat) load {
	var l load
	for dev, now := range n.count() {
		ios, underWay := now.Since(before[dev])
		l.ios += float64(ios)
		l.time += underWay
	}
	return l
}

// measureIdle pauses the copy for a moment, if it is time to, and measures the I/O of others.
func (n *niceness) measureIdle(ctx context.Context) error {
	if n.Nice == nil || len(n.disks) == 0 || time.Since(n.at) < quietEvery {
		return nil
	}
	before := n.count()
	select {
	case <-ctx.Done():
		return failure.Interrupted(ctx)
	case <-time.After(quietTime):
	}
	n.updateBaseline(n.since(before))
	n.at = time.Now()
	return nil
}

func (n *niceness) updateBaseline(l load) {
	n.quiet = load{ios: n.quiet.ios/2 + l.ios, time: n.quiet.time/2 + l.time}
}

// moveMeasured moves data, and measures how long I/O takes meanwhile.
func (n *niceness) moveMeasured(move func() (int64, error)) (int64, error) {
	if n.Nice == nil || len(n.disks) == 0 {
		return move()
	}
	before, began := n.count(), time.Now()
	bytes, err := move()
	n.adjustRate(n.since(before), bytes, time.Since(began))
	return bytes, err
}

// adjustRate sets the rate after a window that took so long. What was under way on the
// disks includes I/O of the copy itself, which can only make it nicer.
func (n *niceness) adjustRate(busy load, bytes int64, took time.Duration) {
	n.speed = float64(bytes) / max(took, time.Millisecond).Seconds()
	others := n.quiet.ios >= 0.5 // one half of one in the last pause, or more
	if others && busy.mean() > n.bound() {
		n.backOff(busy)
	} else {
		n.grow()
	}
}

func (n *niceness) bound() time.Duration {
	if n.Bound > 0 {
		return n.Bound
	}
	return max(2*n.quiet.mean(), leastBound)
}

func (n *niceness) backOff(busy load) {
	if n.limit < 0 {
		n.full, n.limit = n.speed, n.speed
	}
	n.limit = max(n.limit/2, niceFloor)
	n.account.Count(account.Backoffs, 1)
	n.log.Debug("giving way to others", "bytes per second", int64(n.limit), "latency", busy.mean(), "bound", n.bound())
}

func (n *niceness) grow() {
	if n.limit < 0 {
		return
	}
	n.limit += max(n.full/niceSteps, niceFloor)
	if n.limit >= n.full {
		n.limit = float64(Unlimited)
		n.log.Debug("at full speed again")
	}
}
