package fakestack

import (
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/remap"
)

// news is what the kernel has told of disks, and nobody has taken yet. Nothing is told by itself: events come
// late, or not at all, so that tests say when.
type news struct {
	events []copydomain.Event
	lost   bool
	deaf   bool // nobody is told anything
}

// Happen tells that something has happened to a device, or, if that is zero, to one of a subsystem of the
// kernel that has no number.
func (m *Machine) Happen(subsystem string, dev remap.Dev) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.news.events = append(m.news.events, copydomain.Event{Subsystem: subsystem, Dev: dev})
}

// LoseEvents loses what was told and not taken, as the kernel does when there is no room.
func (m *Machine) LoseEvents() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.news.events, m.news.lost = nil, true
}

// Deafen makes that nobody is told anything any more, or ends it.
func (m *Machine) Deafen(deaf bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.news.deaf, m.news.events = deaf, nil
}

// SetSoftware gives a disk other software.
func (m *Machine) SetSoftware(dev remap.Dev, software string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices[dev].leaf.software = software
}

func (m *Machine) software(leaf *remap.Node) (string, error) {
	if leaf.Leaf == nil {
		return "", nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[leaf.Dev]
	if d == nil || d.leaf == nil {
		return "", errGone
	}
	return d.leaf.software, nil
}

// listener takes what was told.
type listener struct{ m *Machine }

func (m *Machine) listen() (copydomain.Events, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.news.deaf {
		return nil, unix.EAFNOSUPPORT
	}
	// Who comes late is told nothing of what was before.
	m.news.events, m.news.lost = nil, false
	return listener{m}, nil
}

// Take implements copydomain.Events.
func (l listener) Take() ([]copydomain.Event, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	n := &l.m.news
	if n.deaf {
		return nil, unix.EBADF
	}
	events := n.events
	n.events = nil
	if n.lost {
		n.lost = false
		return events, copydomain.ErrEventsLost
	}
	return events, nil
}

// Close implements copydomain.Events.
func (listener) Close() error { return nil }
