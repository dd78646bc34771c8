package fakestack

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// pageCache is what buffered I/O to one device has left in memory. Direct I/O
// to the same device minds it, as in the kernel (mm/filemap.c); I/O to devices
// above or below knows nothing of it.
type pageCache struct {
	dirty map[int64][]byte
	clean map[int64][]byte
	// mapped are those that a program has mapped: of these nothing is forgotten but by
	// a direct write to the same device (mm/truncate.c, invalidate_mapping_pages
	// against invalidate_inode_pages2_range).
	mapped map[int64]bool
}

// pageSectors is what is read, kept and written back at once, if it is mapped.
const pageSectors = 8

func (c *pageCache) init() {
	*c = pageCache{make(map[int64][]byte), make(map[int64][]byte), make(map[int64]bool)}
}

// writeBack writes what is dirty to the device.
func (c *pageCache) writeBack(m *Machine, dev remap.Dev) {
	for s, data := range c.dirty {
		if err := m.writeSector(dev, remap.Sector(s), data); err != nil {
			m.complain("write back to %s: %v", dev, err)
		}
		c.clean[s] = data
	}
	clear(c.dirty)
}

// forget drops what is clean, mapped or not.
func (c *pageCache) forget(start, n int64) {
	for s := start; s < start+n; s++ {
		delete(c.clean, s)
		delete(c.mapped, s)
	}
}

// drop drops what is clean and not mapped.
func (c *pageCache) drop() {
	for s := range c.clean {
		if !c.mapped[s] {
			delete(c.clean, s)
		}
	}
}

// WriteBuffered writes as a program does that does not ask for direct I/O.
func (m *Machine) WriteBuffered(dev remap.Dev, start remap.Sector, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.devices[dev].cache
	for i := 0; i < len(data); i += sectorSize {
		s := int64(start) + int64(i/sectorSize)
		delete(c.clean, s)
		c.dirty[s] = append([]byte(nil), data[i:][:sectorSize]...)
	}
}

// ReadBuffered reads as a program does that does not ask for direct I/O.
func (m *Machine) ReadBuffered(dev remap.Dev, start, n remap.Sector) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.devices[dev].cache
	data := make([]byte, n.Bytes())
	for i := range n {
		p := data[i.Bytes():][:sectorSize]
		switch s := int64(start + i); {
		case c.dirty[s] != nil:
			copy(p, c.dirty[s])
		case c.clean[s] != nil:
			copy(p, c.clean[s])
		default:
			if err := m.readSector(dev, start+i, p); err != nil {
				panic(fmt.Sprintf("fakestack: sector %d of %s: %v", s, dev, err))
			}
			c.clean[s] = append([]byte(nil), p...)
		}
	}
	return data
}

// ReadMapped reads as a program does that has mapped the device.
func (m *Machine) ReadMapped(dev remap.Dev, start, n remap.Sector) []byte {
	data := m.ReadBuffered(dev, start, n)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range n {
		m.devices[dev].cache.mapped[int64(start+i)] = true
	}
	return data
}

// WriteMapped writes a byte as a program does that has mapped the device: the page
// that it lies in is dirty.
func (m *Machine) WriteMapped(dev remap.Dev, at int64, b byte) {
	first := remap.Sector(at / sectorSize &^ (pageSectors - 1))
	page := m.ReadMapped(dev, first, min(pageSectors, m.devices[dev].size-first))
	page[at-first.Bytes()] = b
	m.WriteBuffered(dev, first, page)
}

// WriteBack is what the kernel does from time to time.
func (m *Machine) WriteBack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.order {
		d.cache.writeBack(m, d.dev)
	}
}

// DropCaches implements machine.Machine.
func (m *Machine) DropCaches(_ context.Context, n *remap.Node, part machine.Part) error {
	number := m.call("drop")
	if m.Hooks.Drop != nil {
		m.Hooks.Drop(number, n.Dev)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[n.Dev]
	if d == nil {
		return fmt.Errorf("open /dev/%s: %w", n.Name, errGone)
	}
	if m.anyHeld() {
		m.complain("page cache of %s dropped while a hold is on", n.Name)
	}
	for m.blocked(n.Dev) {
		m.moved.Wait()
	}
	devices := []*device{d}
	if part == machine.PartDestination || part == machine.PartSource {
		for _, p := range m.order {
			if p.kind == partition && p.table.below()[0] == n.Dev {
				devices = append(devices, p)
			}
		}
	}
	for _, d := range devices {
		d.cache.writeBack(m, d.dev)
		if d.cache.drop(); part >= machine.PartBelow {
			d.cache.forget(0, int64(d.size))
		}
	}
	return nil
}
