package fakestack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/remap"
)

var errGone error = unix.ENXIO

// spot is a sector of a disk, and what its contents are scrambled with.
type spot struct {
	leaf   *leaf
	sector int64
	keys   []uint64
}

// place is a spot without what is in it.
type place struct {
	leaf   *leaf
	sector int64
}

// in returns the sector of an image of the disk.
func (s spot) in(image []byte) []byte { return image[s.sector*sectorSize:][:sectorSize] }

// scramble turns plain contents into stored ones, or back.
func (s spot) scramble(p []byte) {
	for _, key := range s.keys {
		word := key
		for i := 0; i < len(p); i += 8 {
			word = mix(word)
			binary.LittleEndian.PutUint64(p[i:], binary.LittleEndian.Uint64(p[i:])^word)
		}
	}
}

// walk follows one sector down to the disks, through the current tables. It
// returns nothing for what reads as zeroes.
func (m *Machine) walk(dev remap.Dev, s remap.Sector, write bool) []spot {
	spots, _ := m.follow(dev, s, write, nil)
	return spots
}

func (m *Machine) follow(dev remap.Dev, s remap.Sector, write bool, keys []uint64) ([]spot, error) {
	d := m.devices[dev]
	if d == nil || s < 0 || s >= d.size {
		return nil, unix.EIO
	}
	if d.leaf != nil {
		return []spot{{d.leaf, int64(s), keys}}, nil
	}
	b := d.table.bio(write, s)
	if b.key != 0 {
		keys = append(keys[:len(keys):len(keys)], b.key)
	}
	var spots []spot
	err := b.err
	for _, to := range b.to {
		below, failed := m.follow(to.Dev, to.Start, write, keys)
		spots = append(spots, below...)
		err = errors.Join(err, failed)
	}
	return spots, err
}

// Direct follows one sector of a device to where it lies as it is, in one place
// only, so that somebody could copy it there. It reports false for sectors that
// are zero, failing, scrambled or, for writing, mirrored.
func (m *Machine) Direct(dev remap.Dev, s remap.Sector, write bool) (Place, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.devices[dev].leaf == nil {
		d := m.devices[dev]
		b := d.table.bio(write, s)
		if len(b.to) != 1 || b.key != 0 || d.kind == array && write {
			return Place{}, false
		}
		dev, s = b.to[0].Dev, b.to[0].Start
	}
	return Place{dev, s}, true
}

// firstSpot is where a sector is read from.
func (m *Machine) firstSpot(dev remap.Dev, s remap.Sector) spot { return m.walk(dev, s, false)[0] }

// spots are all sectors that belong to a device.
func (m *Machine) spots(dev remap.Dev) map[place]bool {
	all := make(map[place]bool)
	for s := range m.devices[dev].size {
		for _, at := range m.walk(dev, s, true) {
			all[place{at.leaf, at.sector}] = true
		}
	}
	return all
}

func (m *Machine) readSector(dev remap.Dev, s remap.Sector, p []byte) error {
	spots, err := m.follow(dev, s, false, nil)
	if err != nil {
		return err
	}
	clear(p)
	for _, at := range spots {
		if err := at.leaf.read(at.sector, p); err != nil {
			return err
		}
		at.scramble(p)
	}
	return nil
}

func (m *Machine) writeSector(dev remap.Dev, s remap.Sector, p []byte) error {
	spots, err := m.follow(dev, s, true, nil)
	for _, at := range spots {
		data := append([]byte(nil), p...)
		at.scramble(data)
		at.leaf.write(at.sector, data)
	}
	return err
}

// Content reads a device the way the kernel would, past all hooks.
func (m *Machine) Content(dev remap.Dev, start, n remap.Sector) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	data := make([]byte, n.Bytes())
	for i := range n {
		if err := m.readSector(dev, start+i, data[i.Bytes():][:sectorSize]); err != nil {
			panic(fmt.Sprintf("fakestack: sector %d of %s: %v", start+i, dev, err))
		}
	}
	return data
}

// Fill writes to a device past all hooks, durably.
func (m *Machine) Fill(dev remap.Dev, start remap.Sector, data []byte) { m.set(dev, start, data) }

func (m *Machine) set(dev remap.Dev, start remap.Sector, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := 0; i < len(data); i += sectorSize {
		for _, at := range m.walk(dev, start+remap.Sector(i/sectorSize), true) {
			stored := append([]byte(nil), data[i:][:sectorSize]...)
			at.scramble(stored)
			at.leaf.writeDurable(at.sector, stored)
		}
	}
}

// Top is a device, opened for direct I/O. Each transfer resolves through the
// tables as they are at its moment.
type Top struct {
	m *Machine
	d *device
}

// Open opens a device.
func (m *Machine) Open(dev remap.Dev) *Top { return &Top{m, m.device(dev)} }

// Endpoint opens a device as an end of a copy.
func (m *Machine) Endpoint(dev remap.Dev) dispatch.Endpoint {
	top := m.Open(dev)
	return dispatch.Endpoint{Name: top.Name(), Dev: dev, Device: top}
}

// Name implements emulation.Device.
func (t *Top) Name() string { return "/dev/" + t.d.name }

// ID implements emulation.Device.
func (t *Top) ID() string { return "block:" + t.d.dev.String() }

// Size implements emulation.Device.
func (t *Top) Size() int64 { return t.d.size.Bytes() }

// BlockSize implements emulation.Device.
func (t *Top) BlockSize() int { return t.d.block }

// Close lets the device go.
func (t *Top) Close() error { return nil }

// ReadAt implements emulation.Device.
func (t *Top) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), max(t.Size()-off, 0))
	if n == 0 {
		return 0, io.EOF
	}
	return t.transfer("read", p[:n], off, t.m.readSector)
}

// WriteAt implements emulation.Device.
func (t *Top) WriteAt(p []byte, off int64) (int, error) {
	return t.transfer("write", p, off, t.m.writeSector)
}

// Zero implements emulation.Device.
func (t *Top) Zero(off, n int64) error {
	_, err := t.transfer("zero", make([]byte, n), off, t.m.writeSector)
	return err
}

// transfer carries out direct I/O as one step: nothing is swapped in its midst.
func (t *Top) transfer(op string, p []byte, off int64, each func(remap.Dev, remap.Sector, []byte) error) (int, error) {
	block := int64(t.d.block)
	if off < 0 || off%block != 0 || int64(len(p))%block != 0 || off+int64(len(p)) > t.Size() {
		return 0, unix.EINVAL
	}
	t.enter(op, off, int64(len(p)))
	defer t.m.mu.Unlock()
	m := t.m
	t.d.cache.writeBack(m, t.d.dev)
	if op != "read" {
		t.d.cache.forget(off/sectorSize, int64(len(p))/sectorSize)
	}
	for done := 0; done < len(p); done += sectorSize {
		if err := each(t.d.dev, remap.Sector((off+int64(done))/sectorSize), p[done:][:sectorSize]); err != nil {
			return done &^ int(block-1), err
		}
	}
	return len(p), nil
}

// enter waits until the device takes I/O, and locks the machine.
func (t *Top) enter(op string, off, n int64) {
	m := t.m
	m.call(op)
	if m.Hooks.IO != nil {
		m.Hooks.IO(op, t.d.dev, off, n)
	}
	m.mu.Lock()
	if t.d.leaf == nil && m.anyHeld() {
		m.complain("%s of %s while a hold is on: it could wait for somebody who waits for us", op, t.d.name)
	}
	for m.blocked(t.d.dev) {
		m.moved.Wait()
	}
}

// Flush implements emulation.Device: it reaches the cache of every disk below.
func (t *Top) Flush() error {
	t.enter("flush", 0, 0)
	defer t.m.mu.Unlock()
	var below func(*device)
	below = func(d *device) {
		if d.leaf != nil {
			d.leaf.flush()
		}
		for _, dev := range d.table.below() {
			below(t.m.devices[dev])
		}
	}
	below(t.d)
	return nil
}
