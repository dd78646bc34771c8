package fakestack

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// retable gives the device another table for what it had at first.
func (d *device) retable(segments []Segment) {
	d.table = append(slices.Clone(table(segments)), d.grown...)
	d.size = d.table.size()
}

// Grow makes a mapped device longer.
func (m *Machine) Grow(dev remap.Dev, segments ...Segment) {
	m.swap(dev, func(d *device) {
		d.grown = append(d.grown, segments...)
		d.table = append(slices.Clone(d.table), segments...)
		d.size = d.table.size()
	})
}

// Shrunk is the end that a device was cut off.
type Shrunk struct {
	m    *Machine
	dev  remap.Dev
	from remap.Sector
	end  table
	lent map[place][]byte // what somebody else keeps there meanwhile
}

// Shrink cuts the last segment off a mapped device that has several. If it is lent,
// somebody else gets its sectors, who writes there at once.
func (m *Machine) Shrink(dev remap.Dev, lend bool) *Shrunk {
	s := &Shrunk{m: m, dev: dev, lent: make(map[place][]byte)}
	m.swap(dev, func(d *device) {
		last := len(d.table) - 1
		if last == 0 || len(d.grown) > 0 {
			return
		}
		was := m.spots(dev)
		s.end = slices.Clone(d.table[last:])
		d.table = slices.Clone(d.table[:last])
		d.size = d.table.size()
		s.from = d.size
		now := m.spots(dev)
		for at := range was {
			if lend && !now[at] {
				m.foreign(at)
				s.lent[at] = at.leaf.peek(at.sector)
			}
		}
	})
	return s
}

// Back gives the device its end back. What was lent must be as its user left it.
func (s *Shrunk) Back() {
	s.m.swap(s.dev, func(d *device) {
		for at, data := range s.lent {
			if !bytes.Equal(data, at.leaf.peek(at.sector)) {
				s.m.complain("sector %d, which %s had given away, was written to", at.sector, d.name)
			}
		}
		d.table = append(slices.Clone(d.table), s.end...)
		d.size = d.table.size()
	})
}

// Resize makes a partition longer, which the kernel does while it is in use
// (block/ioctl.c, BLKPG_RESIZE_PARTITION).
func (m *Machine) Resize(dev remap.Dev, by remap.Sector) {
	m.change(func() {
		d := m.devices[dev]
		if d.kind != partition {
			panic(fmt.Sprintf("fakestack: %s is no partition", d.name))
		}
		part := d.table[0]
		part.Len = min(part.Len+by, m.devices[part.Target.(Linear).Dev].size-part.Target.(Linear).Start)
		d.table, d.size = table{part}, part.Len
	})
}

// Reroute makes a device reach a disk by another path, as multipath does: I/O that is
// in flight keeps nobody from it.
func (m *Machine) Reroute(dev, from, to remap.Dev) {
	m.change(func() {
		d := m.devices[dev]
		other := func(p Place) Place {
			if p.Dev == from {
				p.Dev = to
			}
			return p
		}
		changed := slices.Clone(d.table)
		for i, seg := range changed {
			switch t := seg.Target.(type) {
			case Linear:
				changed[i].Target = Linear(other(Place(t)))
			case Striped:
				t.Legs = slices.Clone(t.Legs)
				for j := range t.Legs {
					t.Legs[j] = other(t.Legs[j])
				}
				changed[i].Target = t
			}
		}
		d.table = changed
	})
}

// SuspendFor suspends a mapped device as soon as no anchor is in flight through it, and
// resumes it after some time. It returns when the suspend waits or is over; the channel
// is closed when it is resumed.
func (m *Machine) SuspendFor(dev remap.Dev, long time.Duration) <-chan struct{} {
	over := make(chan struct{})
	began := false
	go func() {
		defer close(over)
		m.swap(dev, func(d *device) { began, d.suspended, d.reserved = true, true, true })
		time.Sleep(long)
		m.change(func() { m.devices[dev].suspended, m.devices[dev].reserved = false, false })
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	for !began && m.devices[dev].waiting == 0 {
		m.moved.Wait()
	}
	return over
}

// SetLimits changes what a namespace reports, and what it takes.
func (m *Machine) SetLimits(dev remap.Dev, reported, enforced nvme.Limits) {
	l := m.device(dev).leaf
	l.loopback.SetReported(l.facts.NVMe.NSID, reported)
	l.loopback.SetEnforced(l.facts.NVMe.NSID, enforced)
}
