package fakestack

import (
	"slices"

	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// watch implements machine.Watch.
type watch struct {
	m      *Machine
	devs   []remap.Dev
	events chan struct{}
}

// Watch implements machine.Machine. A swap causes no event by itself: as in the
// kernel they may come to be known late, or never.
func (m *Machine) Watch() machine.Watch {
	w := &watch{m: m, events: make(chan struct{}, 1)}
	m.change(func() { m.watches[w] = true })
	return w
}

// Wake tells all watches that something has happened to the device. It tells how
// many are concerned.
func (m *Machine) Wake(dev remap.Dev) (concerned int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watches {
		if !slices.Contains(w.devs, dev) {
			continue
		}
		concerned++
		select {
		case w.events <- struct{}{}:
		default:
		}
	}
	return concerned
}

// Watches counts the watches that have not been closed.
func (m *Machine) Watches() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watches)
}

// Follow implements machine.Watch.
func (w *watch) Follow(devs []remap.Dev) {
	w.m.change(func() { w.devs = slices.Clone(devs) })
}

// Events implements machine.Watch.
func (w *watch) Events() <-chan struct{} { return w.events }

// Close implements machine.Watch.
func (w *watch) Close() error {
	w.m.change(func() { delete(w.m.watches, w) })
	return nil
}
