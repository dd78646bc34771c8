package hold

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/blkthrottle"
)

// model is a kernel in memory with a clock of its own: devices of device-mapper that wait for their
// reads before they are suspended, and disks behind the throttle. Whatever is asked of it takes time.
type model struct {
	hz    int64
	rules blkthrottle.Rules
	time  time.Duration // CLOCK_BOOTTIME
	slept time.Duration // of it the clock of the throttle stood still
	cost  func() time.Duration

	nodes  map[remap.Dev]*modelNode
	disks  map[remap.Dev]*modelDisk
	ways   map[int64][]remap.Dev // by the offset of a read: nodes, then the disk
	groups map[string]*modelGroup
	made   int
	reads  []*modelRead
	begun  int // reads charged to groups
	fail   map[string]error
	wrongs []error // what must not be asked for
	at     []event // to come, in order
}

type event struct {
	at time.Duration
	do func()
}

// modelNode is a device of device-mapper.
type modelNode struct {
	delay     time.Duration // before it hands a read down
	blocked   bool          // somebody suspends it, or has
	suspended time.Duration // when nothing was in flight any more; 0 before
	deferred  []*modelRead
	others    int // reads of others in flight
	passing   map[*modelRead]bool
	free      time.Duration // when it was last without a read that is charged to a group
}

type modelDisk struct {
	throttle *blkthrottle.Disk
	latency  time.Duration
	waiting  map[*blkthrottle.Bio]*modelRead
}

type modelGroup struct {
	on map[remap.Dev]*blkthrottle.Group
}

// modelRead is a read on its way through nodes to a disk.
type modelRead struct {
	id    int
	group string // "" is none
	span  span
	way   []remap.Dev
	at    int // the index of the device it has come to
	ended bool
	told  bool
	end   time.Duration
}

func newModel(hz int64, rules blkthrottle.Rules) *model {
	rules.HZ, rules.Slice = hz, hz/10
	return &model{hz: hz, rules: rules, time: time.Hour, cost: func() time.Duration { return 0 }, nodes: make(map[remap.Dev]*modelNode),
		disks: make(map[remap.Dev]*modelDisk), ways: make(map[int64][]remap.Dev), groups: make(map[string]*modelGroup), fail: make(map[string]error)}
}

func (m *model) node(dev remap.Dev) *modelNode {
	if m.nodes[dev] == nil {
		m.nodes[dev] = &modelNode{passing: make(map[*modelRead]bool)}
	}
	return m.nodes[dev]
}

func (m *model) disk(dev remap.Dev) *modelDisk {
	if m.disks[dev] == nil {
		m.disks[dev] = &modelDisk{throttle: blkthrottle.NewDisk(m.rules), latency: time.Millisecond, waiting: make(map[*blkthrottle.Bio]*modelRead)}
	}
	return m.disks[dev]
}

// chain makes a way through nodes to a disk, of which n sectors are read.
func (m *model) chain(n remap.Sector, disk remap.Dev, nodes ...remap.Dev) Chain {
	c := Chain{Start: remap.Sector(1000 * len(m.ways)), Len: n, Nodes: nodes, Leaf: disk}
	for _, dev := range nodes {
		m.node(dev)
	}
	m.disk(disk)
	m.ways[c.Start.Bytes()] = append(slices.Clone(nodes), disk)
	return c
}

// The clock.

func (m *model) jiffies() int64 { return int64(m.time-m.slept) * m.hz / int64(time.Second) }

// when is the first moment at which the throttle's clock shows jiffies.
func (m *model) when(jiffies int64) time.Duration {
	return m.slept + time.Duration((jiffies*int64(time.Second)+m.hz-1)/m.hz)
}

func (m *model) later(d time.Duration, do func()) {
	e := event{m.time + d, do}
	i, _ := slices.BinarySearchFunc(m.at, e.at+1, func(x event, at time.Duration) int { return int(min(max(x.at-at, -1), 1)) })
	m.at = slices.Insert(m.at, i, e)
}

// next is the first thing that happens until a moment.
func (m *model) next(until time.Duration) (event, bool) {
	first, any := event{at: until}, false
	if len(m.at) > 0 && m.at[0].at <= first.at {
		first, any = event{m.at[0].at, func() {
			do := m.at[0].do
			m.at = m.at[1:]
			do()
		}}, true
	}
	for _, d := range m.disks {
		jiffies, waits := d.throttle.Next()
		if at := max(m.when(jiffies), m.time); waits && at <= first.at && !(any && at == first.at) {
			first, any = event{at, func() { m.fire(d) }}, true
		}
	}
	return first, any
}

// run lets time pass until the moment, or until something is so.
func (m *model) run(until time.Duration, so func() bool) {
	for so == nil || !so() {
		e, any := m.next(until)
		if !any {
			m.time = max(m.time, until)
			return
		}
		m.time = max(m.time, e.at)
		e.do()
	}
}

// pass lets time pass.
func (m *model) pass(d time.Duration) { m.run(m.time+d, nil) }

// sleep suspends the machine: the throttle's clock stands still.
func (m *model) sleep(d time.Duration) {
	m.time += d
	m.slept += d
	for i := range m.at {
		m.at[i].at += d
	}
}

func (m *model) fire(d *modelDisk) {
	for _, b := range d.throttle.Fire(m.jiffies()) {
		m.serve(d, d.waiting[b])
		delete(d.waiting, b)
	}
}

// serve is what the disk itself does.
func (m *model) serve(d *modelDisk, r *modelRead) {
	m.later(d.latency, func() {
		r.ended, r.end = true, m.time
		for _, dev := range r.way[:len(r.way)-1] {
			delete(m.nodes[dev].passing, r)
		}
		m.drained()
	})
}

// What happens to reads.

func (m *model) submit(r *modelRead) {
	m.reads = append(m.reads, r)
	m.down(r)
}

// down hands a read to the device that it has come to.
func (m *model) down(r *modelRead) {
	dev := r.way[r.at]
	if r.at == len(r.way)-1 {
		m.throttle(m.disks[dev], dev, r)
		return
	}
	n := m.nodes[dev]
	if n.blocked {
		n.deferred = append(n.deferred, r)
		return
	}
	if !m.holding(dev) {
		n.free = m.time
	}
	n.passing[r] = true
	r.at++
	if n.delay > 0 {
		m.later(n.delay, func() { m.down(r) })
		return
	}
	m.down(r)
}

func (m *model) throttle(d *modelDisk, dev remap.Dev, r *modelRead) {
	g := m.groups[r.group]
	if g == nil || g.on[dev] == nil {
		m.serve(d, r)
		return
	}
	b := &blkthrottle.Bio{Size: int64(r.span.Length)}
	if g.on[dev].Submit(m.jiffies(), b) {
		m.serve(d, r)
		return
	}
	d.waiting[b] = r
}

// What others do.

// suspend begins to suspend a device.
func (m *model) suspend(dev remap.Dev) {
	m.node(dev).blocked = true
	m.drained()
}

// drained notes which devices have nothing in flight any more.
func (m *model) drained() {
	for _, n := range m.nodes {
		if n.blocked && n.suspended == 0 && len(n.passing)+n.others == 0 {
			n.suspended = m.time
		}
	}
}

// resume hands down what was deferred.
func (m *model) resume(dev remap.Dev) {
	n := m.nodes[dev]
	n.blocked, n.suspended = false, 0
	for _, r := range n.deferred {
		m.down(r)
	}
	n.deferred = nil
}

// holding tells whether a read that is charged to a group is in flight through the device.
func (m *model) holding(dev remap.Dev) bool {
	for r := range m.nodes[dev].passing {
		if r.group != "" {
			return true
		}
	}
	return false
}

// pending is how many reads have not ended.
func (m *model) pending() (n int) {
	for _, r := range m.reads {
		if !r.ended {
			n++
		}
	}
	return n
}

// The kernel interface.

func (m *model) call(name string) error {
	m.pass(m.cost())
	return m.fail[name]
}

func (m *model) now() boottime.Instant {
	m.pass(m.cost() / 8)
	return boottime.Instant(m.time)
}

func (m *model) initThrottle(remap.Dev, time.Duration) error { return m.call("initThrottle") }

func (m *model) newGroup() (string, error) {
	if err := m.call("newGroup"); err != nil {
		return "", err
	}
	m.made++
	name := fmt.Sprint("group ", m.made)
	m.groups[name] = &modelGroup{on: make(map[remap.Dev]*blkthrottle.Group)}
	return name, nil
}

func (m *model) limit(group string, leaf remap.Dev, rate int64) error {
	if err := m.call("limit"); err != nil {
		return err
	}
	g := m.groups[group]
	if g == nil {
		return fmt.Errorf("there is no %s", group)
	}
	if g.on[leaf] == nil {
		g.on[leaf] = m.disk(leaf).throttle.Group()
	}
	limit := uint64(rate)
	if rate == 0 {
		limit = blkthrottle.Unlimited
	}
	err := g.on[leaf].SetLimit(m.jiffies(), limit)
	m.pass(m.cost()) // before the caller goes on
	return err
}

// removeGroup lets reads go that are in flight, as 7.3 does.
func (m *model) removeGroup(group string) error {
	if err := m.call("removeGroup"); err != nil {
		return err
	}
	for _, r := range m.reads {
		if r.group == group && !r.ended {
			m.wrongs = append(m.wrongs, fmt.Errorf("%s is removed, and read %d is in flight or queued", group, r.id))
		}
	}
	g := m.groups[group]
	if g == nil {
		return nil // as [cgroups.remove]
	}
	for dev, g := range g.on {
		if err := g.SetLimit(m.jiffies(), blkthrottle.Unlimited); err != nil {
			return err
		}
		m.fire(m.disks[dev])
	}
	delete(m.groups, group)
	return nil
}

func (m *model) start(group string, s span) int {
	id := len(m.reads)
	m.submit(&modelRead{id: id, group: group, span: s, way: m.ways[s.Offset]})
	return id
}

func (m *model) read(group string, s span) (int, error) {
	if err := m.call("read"); err != nil {
		return 0, err
	}
	if m.groups[group] == nil {
		return 0, fmt.Errorf("there is no %s", group)
	}
	m.begun++
	id := m.start(group, s)
	m.pass(m.cost())
	return id, nil
}

func (m *model) ended(ids []int, timeout time.Duration) ([]outcome, error) {
	if err := m.call("ended"); err != nil {
		return nil, err
	}
	m.run(m.time+timeout, func() bool {
		return !slices.ContainsFunc(ids, func(id int) bool { return !m.reads[id].ended })
	})
	var done []outcome
	for _, id := range ids {
		if r := m.reads[id]; r.ended && !r.told {
			r.told = true
			done = append(done, outcome{ID: id})
		}
	}
	m.pass(m.cost()) // until the reply is read
	return done, nil
}

func (m *model) probe(spans []span) ([]int, error) {
	if err := m.call("probe"); err != nil {
		return nil, err
	}
	var ids []int
	for _, s := range spans {
		ids = append(ids, m.start("", s))
	}
	return ids, nil
}

func (m *model) probed(ids []int, timeout time.Duration) ([]outcome, error) {
	return m.ended(ids, timeout)
}

func (m *model) inFlight(dev remap.Dev) (int, error) {
	if err := m.call("inFlight"); err != nil {
		return 0, err
	}
	n := m.nodes[dev]
	return len(n.passing) + n.others, nil
}

func (m *model) suspended(dev remap.Dev) (bool, error) {
	return m.nodes[dev].suspended != 0, m.call("suspended")
}

func (m *model) waitsForReads(remap.Dev) error { return m.fail["waitsForReads"] }

func (m *model) pause(d time.Duration) { m.pass(d) }

func (m *model) close(time.Duration) error {
	errs := m.wrongs
	for _, r := range m.reads {
		if !r.ended {
			errs = append(errs, fmt.Errorf("read %d is in flight", r.id))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.groups)) {
		errs = append(errs, m.removeGroup(name))
	}
	return errors.Join(errs...)
}
