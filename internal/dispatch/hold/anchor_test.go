package hold

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/blkthrottle"
)

// Throttles of kernels.
var (
	linux61  = blkthrottle.Rules{Wraps: true, Least: 2}
	linux612 = blkthrottle.Rules{Least: 2}
	linux73  = blkthrottle.Rules{Signed: true, Least: 1}
)

func testAnchor(t interface{ Fatal(...any) }, m *model) *Anchor {
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	return &Anchor{kernel: m, device: device, log: slog.New(slog.DiscardHandler)}
}

var (
	top, middle, bottom = dev(0), dev(1), dev(2)
	disk, otherDisk     = remap.Dev{Major: 259}, remap.Dev{Major: 259, Minor: 1}
)

// holdOn begins a hold that has to succeed.
func holdOn(t *testing.T, a *Anchor, chains ...Chain) *anchorHold {
	t.Helper()
	d, err := a.hold(t.Context(), Request{Chains: chains, Deadline: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// extend does what a copy does for a while: look after the hold once a second.
func extend(t *testing.T, m *model, d *anchorHold, period time.Duration) {
	t.Helper()
	for until := m.time + period; m.time < until; {
		m.pass(time.Second)
		if err := d.Extend(); err != nil {
			t.Fatalf("after %v: %v", m.time-until+period, err)
		}
	}
}

// TestManyWaysOverOneDisk: each read lasts as if it were alone.
func TestManyWaysOverOneDisk(t *testing.T) {
	for _, n := range []int{1, 8, 60, maxWays} {
		m := newModel(250, linux612)
		var chains []Chain
		for i := range n {
			chains = append(chains, m.chain(8, disk, top, dev(uint32(10+i))))
		}
		d := holdOn(t, testAnchor(t, m), chains...)
		began := m.time
		m.pass(expiry - tick)
		if err := d.Check(); err != nil {
			t.Errorf("%d ways: after %v: %v", n, m.time-began, err)
		}
		m.pass(expiry / 4)
		if err := d.Check(); !errors.Is(err, ErrLost) || !errors.Is(err, errExpired) {
			t.Errorf("%d ways: after %v: %v", n, m.time-began, err)
		}
	}
}

// TestTooManyWays: what cannot be held is not.
func TestTooManyWays(t *testing.T) {
	m := newModel(250, linux612)
	var chains []Chain
	for i := range maxWays + 1 {
		chains = append(chains, m.chain(8, disk, dev(uint32(i))))
	}
	if _, err := testAnchor(t, m).hold(t.Context(), Request{Chains: chains}); !errors.Is(err, ErrUnavailable) || len(m.reads) > 0 {
		t.Errorf("%v, %d reads", err, len(m.reads))
	}
}

// TestNoAnchorOnWhatDoesNotWait: nothing is read through a device that would not
// wait for it.
func TestNoAnchorOnWhatDoesNotWait(t *testing.T) {
	m := newModel(250, linux612)
	m.fail["waitsForReads"] = errRequests
	_, err := testAnchor(t, m).hold(t.Context(), Request{Chains: []Chain{m.chain(8, disk, top)}})
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errRequests) || len(m.reads) > 0 {
		t.Errorf("%v, %d reads", err, len(m.reads))
	}
}

// TestUnthrottled: a read that ends in another place than the plan says is not held back, and nobody is to blame.
func TestUnthrottled(t *testing.T) {
	m := newModel(250, linux612)
	way := m.chain(8, disk, top)
	way.Leaf = otherDisk
	_, err := testAnchor(t, m).hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second})
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrContended) || m.begun != holdTries {
		t.Errorf("%v after %d reads", err, m.begun)
	}
}

// busy is a machine that is busy for longer than an anchor lasts, at some of the calls.
type busy struct {
	*model
	reads, counts int // how many calls of each are late
}

func (b *busy) read(group string, s span) (int, error) {
	id, err := b.model.read(group, s)
	if b.reads > 0 {
		b.reads--
		b.pass(2 * expiry)
	}
	return id, err
}

func (b *busy) inFlight(dev remap.Dev) (int, error) {
	n, err := b.model.inFlight(dev)
	if b.counts > 0 && b.holding(dev) {
		b.counts--
		b.pass(2 * expiry)
	}
	return n, err
}

// TestTriesAgain: an anchor that has ended before it is known to be in flight holds nothing. It is submitted again, some times,
// because the machine may be busy; nobody else is to blame.
func TestTriesAgain(t *testing.T) {
	for late := range holdTries + 1 {
		for name, b := range map[string]*busy{"reads": {reads: late}, "counts": {counts: late}} {
			b.model = newModel(250, linux612)
			a := testAnchor(t, b.model)
			a.kernel = b
			d, err := a.hold(t.Context(), Request{Chains: []Chain{b.chain(8, disk, top)}, Deadline: time.Second})
			if late == holdTries {
				if !errors.Is(err, ErrLost) || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrContended) || b.begun != holdTries {
					t.Errorf("%d %s are late: %v after %d reads", late, name, err, b.begun)
				}
				continue
			}
			if err != nil {
				t.Errorf("%d %s are late: %v", late, name, err)
			} else if err := d.Check(); err != nil || b.begun != late+1 {
				t.Errorf("%d %s are late: %v after %d reads", late, name, err, b.begun)
			}
		}
	}
}

// TestRenewal: as long as nobody waits, there is a new anchor before the last one ends, and none
// would hold for longer than an expiry if we were killed.
func TestRenewal(t *testing.T) {
	m := newModel(250, linux612)
	a := testAnchor(t, m)
	d := holdOn(t, a, m.chain(8, disk, top, middle), m.chain(1, otherDisk, top, bottom))
	extend(t, m, d, 10*time.Minute)
	if left := time.Duration(d.Deadline()) - m.time; left > a.expiry()+tick || left < expiry/4 {
		t.Errorf("it would hold for %v", left)
	}
	if len(m.groups) > 2 {
		t.Errorf("%d groups are kept", len(m.groups))
	}
	if err := errors.Join(d.Check(), d.Release(), a.Close()); err != nil {
		t.Error(err)
	}
}

// TestHoldWithWaiter: while somebody waits, the anchor that is in flight lasts as long as any command
// is waited for, whatever it reads; and he passes as soon as it is released.
func TestHoldWithWaiter(t *testing.T) {
	for name, rules := range map[string]blkthrottle.Rules{"6.1": linux61, "6.12": linux612, "7.3": linux73} {
		for _, sectors := range []remap.Sector{1, 2, 8, 128} {
			for _, hz := range []int64{100, 250, 300, 1000} {
				m := newModel(hz, rules)
				a := testAnchor(t, m)
				d := holdOn(t, a, m.chain(sectors, disk, top, middle))
				m.suspend(middle)
				extend(t, m, d, 150*time.Second)
				if m.nodes[middle].suspended != 0 {
					t.Fatalf("%s, HZ=%d, %d sectors: he did not wait", name, hz, sectors)
				}
				if n := m.pending(); n != 2 {
					t.Errorf("%s, HZ=%d, %d sectors: %d reads are under way, want that of the anchor and one probe", name, hz, sectors, n)
				}
				released := m.time
				if err := errors.Join(d.Check(), d.Release()); err != nil {
					t.Errorf("%s, HZ=%d, %d sectors: %v", name, hz, sectors, err)
				}
				if at := m.nodes[middle].suspended; at == 0 || at > released+slack {
					t.Errorf("%s, HZ=%d, %d sectors: released at %v, suspended at %v", name, hz, sectors, released, at)
				}
				m.resume(middle)
				m.pass(time.Second)
				if err := a.Close(); err != nil {
					t.Errorf("%s, HZ=%d, %d sectors: %v", name, hz, sectors, err)
				}
			}
		}
	}
}

// TestExtendedWithWaiter: whenever a hold is extended, it lasts for about an expiry more, by itself, although somebody waits.
func TestExtendedWithWaiter(t *testing.T) {
	for phase := time.Duration(0); phase < expiry; phase += expiry / 64 {
		m := newModel(250, linux612)
		a := testAnchor(t, m)
		d := holdOn(t, a, m.chain(8, disk, top))
		m.pass(phase)
		m.suspend(top)
		if err := d.Extend(); err != nil {
			t.Errorf("after %v: %v", phase, err)
		}
		if left := time.Duration(d.Deadline()) - m.time; left < expiry*3/4 || left > a.expiry() {
			t.Errorf("after %v: it lasts for %v", phase, left)
		}
	}
}

// TestWaiterGivesUp: when nobody waits any more, what had to last for minutes is replaced by what ends by itself after an expiry.
func TestWaiterGivesUp(t *testing.T) {
	m := newModel(250, linux612)
	a := testAnchor(t, m)
	d := holdOn(t, a, m.chain(8, disk, top))
	m.suspend(top)
	extend(t, m, d, 20*time.Second)
	m.resume(top)
	extend(t, m, d, 3*time.Second)
	began := m.time
	m.run(m.time+time.Hour, func() bool { return !m.holding(top) })
	if lasted := m.time - began; lasted < expiry/2 || lasted > expiry+slack+2*tick {
		t.Errorf("it lasted for %v", lasted)
	}
}

// TestExhausted: a hold that cannot be made longer is on until it ends, and then says why.
func TestExhausted(t *testing.T) {
	m := newModel(250, linux612)
	a := testAnchor(t, m)
	d := holdOn(t, a, m.chain(1, disk, top))
	m.suspend(top)
	for {
		err := d.Extend()
		if held := m.holding(top); held != (err == nil) {
			t.Fatalf("held: %t, %v", held, err)
		}
		if err != nil {
			if !errors.Is(err, ErrLost) || !errors.Is(err, errExpired) || errors.Is(err, unix.EINVAL) {
				t.Error(err)
			}
			break
		}
		m.pass(time.Second)
	}
	m.resume(top)
	m.pass(time.Second)
	if err := errors.Join(d.Release(), a.Close()); err != nil {
		t.Error(err)
	}
}

// TestQueuedHoldsNothing: an anchor that came after somebody who waits is let go at once: when
// he is through it goes in flight on another table, and must not keep the next one waiting.
func TestQueuedHoldsNothing(t *testing.T) {
	m := newModel(250, linux612)
	a, first := testAnchor(t, m), testAnchor(t, m)
	way := m.chain(8, disk, top, middle)
	held := holdOn(t, first, way)
	d := holdOn(t, a, way)
	if err := d.Release(); err != nil {
		t.Fatal(err)
	}
	m.suspend(middle)
	if _, err := a.hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second}); !errors.Is(err, ErrContended) {
		t.Fatal(err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	m.pass(time.Second)
	m.resume(middle)
	m.suspend(middle)
	m.pass(100 * time.Millisecond)
	if m.nodes[middle].suspended == 0 {
		t.Error("what was queued holds the next table")
	}
	m.resume(middle)
	if err := errors.Join(holdOn(t, a, way).Release(), a.Close()); err != nil {
		t.Error(err)
	}
}

// TestProbe: the reads of others can make it look as if an anchor were in flight that is queued.
func TestProbe(t *testing.T) {
	m := newModel(250, linux612)
	a := testAnchor(t, m)
	way := m.chain(8, disk, top, middle)
	d := holdOn(t, a, way)
	if err := d.Release(); err != nil {
		t.Fatal(err)
	}
	m.nodes[middle].others = 1
	m.suspend(middle) // he waits for them
	m.later(100*time.Millisecond, func() { m.nodes[middle].others++ })
	if _, err := a.hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second}); !errors.Is(err, ErrContended) || errors.Is(err, errUncounted) {
		t.Errorf("%v", err)
	}
}

// TestLateAnywhere: wherever the machine is busy for a while, a hold lasts until the deadline that it was said to have.
func TestLateAnywhere(t *testing.T) {
	for late := 1; ; late++ {
		m := newModel(250, linux612)
		way := m.chain(8, disk, top)
		a := testAnchor(t, m)
		calls := 0
		m.cost = func() time.Duration {
			if calls++; calls == late {
				return 2 * time.Second
			}
			return 0
		}
		d, err := a.hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second})
		if err != nil {
			continue // it was seen
		}
		m.suspend(top)
		for range 3 {
			m.pass(time.Second)
			if err := d.Extend(); err != nil {
				break
			}
		}
		m.cost = func() time.Duration { return 0 }
		m.run(max(time.Duration(d.Deadline()), m.time), func() bool { return !m.holding(top) })
		if m.time < time.Duration(d.Deadline()) {
			t.Errorf("late at call %d: it has ended %v before its deadline", late, time.Duration(d.Deadline())-m.time)
		}
		if calls < late {
			return
		}
	}
}

// TestSlowIsNotContended: the first read tells how long one takes. What takes too long is said to.
func TestSlowIsNotContended(t *testing.T) {
	for _, latency := range []time.Duration{0, 20 * time.Millisecond, 900 * time.Millisecond, 1500 * time.Millisecond, maxLatency - 2*tick} {
		m := newModel(250, linux612)
		way := m.chain(8, disk, top, middle, bottom)
		m.nodes[middle].delay = latency
		a := testAnchor(t, m)
		for range 3 {
			d := holdOn(t, a, way)
			m.pass(time.Second)
			if err := errors.Join(d.Extend(), d.Check()); err != nil {
				t.Errorf("%v: %v", latency, err)
			}
			extend(t, m, d, time.Minute)
			if err := errors.Join(d.Check(), d.Release()); err != nil {
				t.Errorf("%v: %v", latency, err)
			}
		}
	}
	m := newModel(250, linux612)
	way := m.chain(8, disk, top)
	m.disks[disk].latency = 4 * time.Second
	a := testAnchor(t, m)
	var err error
	for range 3 {
		if _, err = a.hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second}); errors.Is(err, ErrSlow) {
			break
		}
	}
	if !errors.Is(err, ErrSlow) || errors.Is(err, ErrContended) || m.begun > 0 {
		t.Errorf("%v, %d reads of an anchor", err, m.begun)
	}
	m.disks[disk].latency = time.Millisecond
	m.pass(10 * time.Second)
	for range 2 { // it is asked once more, and then it is known
		if _, err = a.hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second}); err == nil {
			return
		}
		m.pass(time.Second)
	}
	t.Errorf("it is fast again: %v", err)
}

// TestSuspendedIsContended, at once, and not slow.
func TestSuspendedIsContended(t *testing.T) {
	m := newModel(250, linux612)
	way := m.chain(8, disk, top, middle)
	m.suspend(middle)
	began := m.time
	a := testAnchor(t, m)
	if _, err := a.hold(t.Context(), Request{Chains: []Chain{way}, Deadline: time.Second}); !errors.Is(err, ErrContended) {
		t.Error(err)
	}
	if took := m.time - began; took > time.Second+2*probeStep || m.begun > 0 {
		t.Errorf("took %v, %d reads of an anchor", took, m.begun)
	}
	m.pass(time.Minute)
	m.resume(middle) // the read that had to wait tells nothing of the device
	m.pass(time.Minute)
	holdOn(t, a, way)
}

// TestCounted: a device has to count a read more than before it was submitted. The reads of others, and those of the anchor
// before, prove nothing.
func TestCounted(t *testing.T) {
	m := newModel(250, linux612)
	a := testAnchor(t, m)
	way := m.chain(8, disk, top)
	m.nodes[top].others = 3
	set, err := a.submit([]Chain{way})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.checkCounted(set, []Chain{way}); err != nil {
		t.Error(err)
	}
	m.nodes[top].others = 2
	if err := a.checkCounted(set, []Chain{way}); !errors.Is(err, errUncounted) || !errors.Is(err, ErrContended) {
		t.Error(err)
	}
	m.later(countPause, func() { m.nodes[top].others++ }) // they come and go
	if err := a.checkCounted(set, []Chain{way}); err != nil {
		t.Error(err)
	}
	m.fail["inFlight"] = os.ErrPermission
	if err := a.checkCounted(set, []Chain{way}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

// TestRenewalNeedsTheLast: a new anchor proves nothing about the time before it, unless the last one is in flight still,
// wherever the machine is busy for a while.
func TestRenewalNeedsTheLast(t *testing.T) {
	gaps := 0
	for late := 1; ; late++ {
		m := newModel(250, linux612)
		d := holdOn(t, testAnchor(t, m), m.chain(8, disk, top))
		began := m.time
		m.pass(2 * time.Second)
		calls := 0
		m.cost = func() time.Duration {
			if calls++; calls == late {
				return 3 * time.Second
			}
			return 0
		}
		err := d.Extend()
		if calls < late {
			break
		}
		if gap := m.nodes[top].free > began; gap && err == nil {
			t.Errorf("late at call %d: there was a gap, and it is extended", late)
		} else if gap {
			gaps++
		}
	}
	if gaps == 0 {
		t.Error("nothing was late")
	}
}

// TestUnavailable: whatever the machine refuses, nothing is left in flight.
func TestUnavailable(t *testing.T) {
	for _, name := range []string{"newGroup", "limit", "read", "probe", "inFlight", "initThrottle"} {
		m := newModel(250, linux612)
		a := testAnchor(t, m)
		m.fail[name] = unix.EPERM
		_, err := a.hold(t.Context(), Request{Chains: []Chain{m.chain(8, disk, top), m.chain(8, otherDisk, middle)}, Deadline: time.Second})
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
		m.fail[name] = nil
		m.pass(time.Second)
		a.removeEnded()
		if len(m.groups) > 0 && name != "limit" {
			t.Errorf("%s: %d groups are left", name, len(m.groups))
		}
		if m.holding(top) || m.holding(middle) {
			t.Errorf("%s: something is held", name)
		}
	}
}

// TestManyRates: however often the rate of a read is changed, it is in flight until its deadline. Here it is high for moments only,
// each of which has a step of the throttle's clock in it, and counts as such.
func TestManyRates(t *testing.T) {
	for name, rules := range map[string]blkthrottle.Rules{"6.1": linux61, "6.12": linux612, "7.3": linux73} {
		m := newModel(100, rules)
		a := testAnchor(t, m)
		set, err := a.submit([]Chain{m.chain(8, disk, top)})
		if err != nil {
			t.Fatal(err)
		}
		rate := func(rate int64) {
			if err := a.setRate(set.reads[0], rate); err != nil {
				t.Fatal(err)
			}
		}
		for range 60 {
			m.pass(m.when(m.jiffies()+1) - time.Microsecond - m.time)
			rate(4000)
			m.pass(2 * time.Microsecond)
			rate(minRate)
		}
		rate(500)
		m.run(time.Duration(set.deadline()), func() bool { return !m.holding(top) })
		if early := time.Duration(set.deadline()) - m.time; early > 0 {
			t.Errorf("%s: it has ended %v before its deadline", name, early)
		}
	}
}

// TestEarliest: an anchor lasts until the first of its reads ends, whichever it is.
func TestEarliest(t *testing.T) {
	short, long := &anchorRead{meter: meter{left: 1000, rate: 500}}, &anchorRead{meter: meter{left: 1000, rate: 100}}
	for _, reads := range [][]*anchorRead{{short, long}, {long, short}} {
		if got, want := (&readSet{reads: reads}).deadline(), boottime.Instant(0).Add(2*time.Second-slack); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
}

// TestNeverNearer: on a device that was slow and is fast, an anchor lasts less than before; what was said of the last one counts.
func TestNeverNearer(t *testing.T) {
	m := newModel(250, linux612)
	d := holdOn(t, testAnchor(t, m), m.chain(8, disk, top))
	said := d.Deadline().Add(time.Second)
	d.until.Store(int64(said))
	if d.updateDeadline(); d.Deadline() != said {
		t.Errorf("%v nearer", said.Sub(d.Deadline()))
	}
}

// TestSleep: while the machine is suspended, its throttle stands still and the deadline does not.
func TestSleep(t *testing.T) {
	m := newModel(250, linux612)
	d := holdOn(t, testAnchor(t, m), m.chain(8, disk, top))
	m.sleep(time.Hour)
	if err := d.Check(); err != nil || time.Duration(d.Deadline()) > m.time {
		t.Errorf("%v, %v", err, time.Duration(d.Deadline())-m.time)
	}
}

// TestAnchorProperties: whatever happens, an anchor holds until its deadline, and what it says is so.
func TestAnchorProperties(t *testing.T) {
	var tried, held int
	defer func() {
		if t.Logf("%d of %d windows were held", held, tried); held < tried/2 {
			t.Error("most windows were not held at all")
		}
	}()
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SampledFrom([]blkthrottle.Rules{linux61, linux612, linux73}).Draw(t, "rules")
		m := newModel(rapid.SampledFrom([]int64{100, 250, 300, 1000}).Draw(t, "HZ"), rules)
		m.pass(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "phase")))
		var chains []Chain
		for i := range rapid.IntRange(1, 5).Draw(t, "ways") {
			sectors := remap.Sector(rapid.SampledFrom([]int{1, 2, 7, 8, 200}).Draw(t, "sectors"))
			chains = append(chains, m.chain(sectors, remap.Dev{Major: 259, Minor: uint32(i % 2)}, top, dev(uint32(10+i))))
		}
		for _, n := range m.nodes {
			n.delay = time.Duration(rapid.SampledFrom([]int{0, 0, 0, 30, 700}).Draw(t, "delay")) * time.Millisecond
			n.others = rapid.IntRange(0, 2).Draw(t, "others")
		}
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "costs"), 0))
		stalls := rapid.SampledFrom([]int{0, 3, 30}).Draw(t, "stalls")
		m.cost = func() time.Duration {
			if chance.IntN(1000) < stalls {
				return time.Duration(chance.Int64N(int64(5 * time.Second)))
			}
			return time.Duration(chance.Int64N(int64(9 * time.Millisecond)))
		}
		a := testAnchor(t, m)
		for range rapid.IntRange(1, 3).Draw(t, "windows") {
			tried++
			if anchorWindow(t, m, a, chains) {
				held++
			}
		}
		for dev, n := range m.nodes {
			n.others = 0
			m.drained()
			m.resume(dev)
		}
		m.cost = func() time.Duration { return 0 }
		m.pass(10 * time.Second)
		for dev := range m.nodes {
			if m.holding(dev) {
				t.Fatalf("%s is held although everything is released", dev)
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// anchorWindow holds for a while, in which others wait for the release, and the machine is slow or sleeps.
func anchorWindow(t *rapid.T, m *model, a *Anchor, chains []Chain) bool {
	d, err := a.hold(t.Context(), Request{Chains: chains, Deadline: time.Second})
	if err != nil {
		return false // busy as it is
	}
	began := m.time
	truth := func() bool { // without a gap until now
		for dev, n := range m.nodes {
			if !m.holding(dev) || n.free > began {
				return false
			}
		}
		return true
	}
	promised := d.Deadline()
	steps := rapid.IntRange(1, 40).Draw(t, "steps")
	for range steps {
		deadline := time.Duration(d.Deadline())
		for m.time <= deadline && m.time < deadline-10*time.Minute {
			t.Fatalf("it promises %v", deadline-m.time)
		}
		if m.time < deadline && !truth() {
			t.Fatalf("it has ended %v before its deadline", deadline-m.time)
		}
		switch rapid.SampledFrom([]string{"second", "second", "second", "wait", "suspend", "cancel", "extend", "extend", "extend", "sleep", "until"}).Draw(t, "step") {
		case "second":
			m.pass(time.Second)
		case "wait":
			m.pass(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "ns")))
		case "suspend":
			m.suspend(chains[0].Nodes[1])
		case "cancel": // of who waits, by a signal
			if n := m.nodes[chains[0].Nodes[1]]; n.suspended == 0 {
				m.resume(chains[0].Nodes[1])
			}
		case "extend":
			m.pass(time.Second)
			err := d.Extend()
			if (err == nil) && !truth() && m.time < time.Duration(d.Deadline()) {
				t.Fatal("extended, and not held")
			}
		case "sleep":
			m.sleep(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "ns")))
		case "until": // the last moment of the promise
			m.run(max(time.Duration(d.Deadline()), m.time), func() bool { return !truth() })
			if m.time < time.Duration(d.Deadline()) {
				t.Fatalf("it has ended %v before its deadline", time.Duration(d.Deadline())-m.time)
			}
		}
		if d.Deadline() < promised {
			t.Fatal("the deadline has come nearer")
		}
		promised = d.Deadline()
		held := truth()
		if err := d.Check(); err == nil && !held {
			t.Fatal("it is said to hold, and does not")
		}
	}
	if err := d.Release(); err != nil && !errors.Is(err, ErrLost) && !a.probing.pending() {
		t.Logf("release: %v", err)
	}
	return true
}
