package fakestack

import (
	"maps"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// Swap gives a mapped device another table of the same length. As in the kernel
// it waits until no I/O is in flight through the device, anchors included, and
// keeps new I/O out meanwhile.
func (m *Machine) Swap(dev remap.Dev, segments ...Segment) {
	m.swap(dev, func(d *device) { d.retable(segments) })
}

// Move swaps as pvmove does: the contents move to where the new table says, and
// what was in the old place belongs to somebody else from then on, who writes
// there at once.
func (m *Machine) Move(dev remap.Dev, segments ...Segment) {
	m.swap(dev, func(d *device) {
		was := m.spots(dev)
		content := make([][]byte, d.size)
		expected := make([][]byte, d.size)
		for s := range content {
			content[s] = make([]byte, sectorSize)
			m.readSector(dev, remap.Sector(s), content[s])
			expected[s] = make([]byte, sectorSize)
			if m.expect != nil {
				m.read(image(m.expect), dev, remap.Sector(s), expected[s])
			}
		}
		d.retable(segments)
		for s := range content {
			m.write(durably{}, dev, remap.Sector(s), content[s])
			if m.expect != nil {
				m.write(image(m.expect), dev, remap.Sector(s), expected[s])
			}
		}
		m.vacate(was, m.spots(dev))
	})
}

// Leave gives a device another place as dmsetup load and resume do: what it held stays
// where it was, and belongs to somebody else from then on, who writes there at once. In
// the new place is what was there before.
func (m *Machine) Leave(dev remap.Dev, segments ...Segment) {
	m.swap(dev, func(d *device) {
		was := m.spots(dev)
		d.retable(segments)
		m.vacate(was, m.spots(dev))
	})
}

// Remap gives every block of a thin volume another place in its pool, without what is in
// it.
func (m *Machine) Remap(dev remap.Dev) {
	m.swap(dev, func(d *device) {
		was := m.spots(dev)
		thin := d.table[0].Target.(*Thin)
		for block := range thin.at {
			thin.at[block] = thin.next()
		}
		thin.shown = maps.Clone(thin.at)
		m.vacate(was, m.spots(dev))
	})
}

// MergeBack makes the origin of a snapshot, which is all of a device, what it was when
// the snapshot was made, and takes the snapshot away: the device lies where it lay.
func (m *Machine) MergeBack(dev remap.Dev) {
	m.swap(dev, func(d *device) {
		origin := d.table[0].Target.(Origin)
		snap := origin.Snapshots[0]
		data := make([]byte, sectorSize)
		for chunk, at := range snap.exceptions {
			for i := range snap.Chunk {
				from, to := snap.Cow.plus(at*snap.Chunk+i), origin.plus(chunk*snap.Chunk+i)
				if m.readSector(from.Dev, from.Start, data) == nil {
					m.write(durably{}, to.Dev, to.Start, data)
				}
			}
		}
		d.retable([]Segment{{Len: d.size, Target: Linear(origin.Place)}})
	})
}

// Replace puts another disk in the place of one: it has other contents, and another name.
func (m *Machine) Replace(dev remap.Dev) {
	m.change(func() {
		d := m.devices[dev]
		d.leaf.facts.Identity += " replaced"
		for s := range int64(d.size) {
			m.foreign(place{d.leaf, s})
		}
	})
}

// vacate gives away what is not used any more.
func (m *Machine) vacate(was, now map[place]bool) {
	for at := range was {
		if !now[at] {
			m.foreign(at)
		}
	}
}

// foreign gives a sector to somebody else, who writes to it.
func (m *Machine) foreign(at place) {
	data := make([]byte, sectorSize)
	m.Stamp(data, foreignLeaf, at.sector)
	at.leaf.writeDurable(at.sector, data)
	if m.expect != nil {
		copy(m.expect[at.leaf][at.sector*sectorSize:], data)
	}
}

func (m *Machine) swap(dev remap.Dev, apply func(*device)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[dev]
	d.waiting++
	m.moved.Broadcast()
	for d.reserved || !m.UnsafeSwaps && m.anchored(dev) {
		m.moved.Wait()
	}
	d.waiting--
	apply(d)
	if m.task != nil {
		m.task.spots = nil
	}
	m.moved.Broadcast()
}

// Begin starts a swap of the device and returns when it is waiting or over. The
// channel is closed when it is over.
func (m *Machine) Begin(dev remap.Dev, swap func()) <-chan struct{} {
	over := make(chan struct{})
	ended := false
	go func() {
		swap()
		m.change(func() { ended = true })
		close(over)
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	for !ended && m.devices[dev].waiting == 0 {
		m.moved.Wait()
	}
	return over
}

// Waiting tells whether a swap of the device waits.
func (m *Machine) Waiting(dev remap.Dev) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.devices[dev].waiting > 0
}

// Suspend keeps I/O out of a device until Resume. It does not wait.
func (m *Machine) Suspend(dev remap.Dev) { m.change(func() { m.devices[dev].suspended = true }) }

// Resume ends Suspend.
func (m *Machine) Resume(dev remap.Dev) { m.change(func() { m.devices[dev].suspended = false }) }

// Stage loads a table that nobody resumes, or takes it away again: the layout
// stays, but is about to change.
func (m *Machine) Stage(dev remap.Dev, staged bool) {
	m.change(func() { m.devices[dev].staged = staged })
}

func (m *Machine) change(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.moved.Broadcast()
}

// blocked tells whether I/O to the device has to wait.
func (m *Machine) blocked(dev remap.Dev) bool {
	d := m.devices[dev]
	if d.suspended || d.waiting > 0 && !m.UnsafeSwaps {
		return true
	}
	return slices.ContainsFunc(d.table.below(), m.blocked)
}
