package fakestack

import "github.com/dmcopy/dmcopy/remap"

// Outage says what disks keep of what was written and not flushed. The zero Outage
// keeps nothing. Any other keeps some sectors and loses others, in no order, and of one
// that was written several times any of the versions: disks promise no more.
type Outage struct {
	Seed uint64
}

// keeps is the number of the version that a sector has afterwards: 0 is what it held at
// the last flush, writes is the last that was written.
func (o Outage) keeps(sector int64, writes int) int {
	if o.Seed == 0 {
		return 0
	}
	// Some lose little, others much.
	const sixteenths = 16
	word := mix(o.Seed ^ mix(uint64(sector)))
	if word%sixteenths < mix(o.Seed)%sixteenths {
		return writes
	}
	return int(word / sixteenths % uint64(writes+1))
}

// of is the outage at one disk of several.
func (o Outage) of(number int) Outage {
	if o.Seed == 0 {
		return o
	}
	return Outage{max(1, mix(o.Seed+uint64(number)))}
}

// Crash takes the power away: what was not flushed is lost, on every disk.
func (m *Machine) Crash() { m.PowerCut(Outage{}) }

// PowerCut takes the power away.
func (m *Machine) PowerCut(o Outage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, d := range m.order {
		if d.leaf != nil {
			d.leaf.crash(o.of(i))
		}
		d.cache.init()
	}
}

// FailFlush makes the next flush of a disk fail, which leaves what was written before
// it as an outage does, and those that come after it succeed.
func (m *Machine) FailFlush(dev remap.Dev, o Outage) {
	l := m.device(dev).leaf
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetful = &o
}

// Flushes ends FailFlush where no flush came.
func (m *Machine) Flushes(dev remap.Dev) {
	l := m.device(dev).leaf
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetful = nil
}
