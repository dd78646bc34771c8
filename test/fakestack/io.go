package fakestack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/remap"
)

var errGone error = unix.ENXIO

// place is a sector of a disk.
type place struct {
	leaf   *leaf
	sector int64
}

// in returns the sector of an image of the disk.
func (at place) in(image []byte) []byte { return image[at.sector*sectorSize:][:sectorSize] }

// scramble turns plain contents into stored ones, or back.
//
// Word by word under the race detector it took nine tenths of the time of all tests. Who
// shares a sector is noticed where it is copied.
//
//go:norace
func scramble(key uint64, p []byte) {
	word := key
	for i := 0; i < len(p); i += 8 {
		word = mix(word)
		binary.LittleEndian.PutUint64(p[i:], binary.LittleEndian.Uint64(p[i:])^word)
	}
}

// bioOf asks the table of a device what becomes of a sector. The device is nil
// for a disk.
func (m *Machine) bioOf(dev remap.Dev, s remap.Sector, write bool) (b bio, disk *leaf, err error) {
	d := m.devices[dev]
	switch {
	case d == nil || d.gone || s < 0 || s >= d.size:
		return bio{}, nil, unix.EIO
	case d.leaf != nil:
		return bio{}, d.leaf, nil
	}
	return d.table.bio(write, s), nil, nil
}

// read follows one sector of a device down to the disks, through the current
// tables.
func (m *Machine) read(on medium, dev remap.Dev, s remap.Sector, p []byte) error {
	b, disk, err := m.bioOf(dev, s, false)
	switch {
	case err != nil:
		return err
	case disk != nil:
		return on.read(place{disk, int64(s)}, p)
	case b.err != nil:
		return b.err
	case b.sealed != nil:
		return m.unseal(on, b, p)
	}
	clear(p)
	for _, to := range b.to {
		if err := m.read(on, to.Dev, to.Start, p); err != nil {
			return err
		}
	}
	if b.key != 0 {
		scramble(b.key, p)
	}
	return nil
}

// write does the same for writing. Of several places it writes as many as it
// can.
func (m *Machine) write(on medium, dev remap.Dev, s remap.Sector, p []byte) error {
	b, disk, err := m.bioOf(dev, s, true)
	switch {
	case err != nil:
		return err
	case disk != nil:
		return on.write(place{disk, int64(s)}, p)
	case b.sealed != nil:
		return m.seal(on, b, p)
	}
	for _, snap := range b.cow {
		m.preserve(on, snap, s)
	}
	data := append([]byte(nil), p...)
	if b.key != 0 {
		scramble(b.key, data)
	}
	err = b.err
	for _, to := range b.to {
		err = errors.Join(err, m.write(on, to.Dev, to.Start, data))
	}
	return err
}

// places are the sectors of disks that writing a sector of a device changes:
// of what is enciphered as one, all.
func (m *Machine) places(dev remap.Dev, s remap.Sector) (all []place) {
	b, disk, err := m.bioOf(dev, s, true)
	switch {
	case err != nil:
		return nil
	case disk != nil:
		return []place{{disk, int64(s)}}
	case b.sealed != nil:
		b.to = b.block()
	}
	for _, to := range b.to {
		all = append(all, m.places(to.Dev, to.Start)...)
	}
	return all
}

// Direct follows one sector of a device to where it lies as it is, in one place
// only, so that somebody could copy it there. It reports false for sectors that
// are zero, failing, scrambled, enciphered or, for writing, mirrored.
func (m *Machine) Direct(dev remap.Dev, s remap.Sector, write bool) (Place, bool) {
	at, seal, ok := m.Stored(dev, s, write)
	return at, ok && seal == nil
}

// Stored is Direct for sectors that may be enciphered, but once.
func (m *Machine) Stored(dev remap.Dev, s remap.Sector, write bool) (at Place, seal *Seal, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.devices[dev].leaf == nil {
		d := m.devices[dev]
		b := d.table.bio(write, s)
		if len(b.to) != 1 || b.err != nil || b.key != 0 || d.kind == array && write || seal != nil && (b.sealed != nil || d.kind == array) {
			return Place{}, nil, false
		}
		if b.sealed != nil {
			seal = b.sealed
		}
		dev, s = b.to[0].Dev, b.to[0].Start
	}
	return Place{dev, s}, seal, true
}

// spots are all sectors that belong to a device.
func (m *Machine) spots(dev remap.Dev) map[place]bool {
	all := make(map[place]bool)
	for s := range m.devices[dev].size {
		for _, at := range m.places(dev, s) {
			all[at] = true
		}
	}
	return all
}

func (m *Machine) readSector(dev remap.Dev, s remap.Sector, p []byte) error {
	return m.read(disks{}, dev, s, p)
}

func (m *Machine) writeSector(dev remap.Dev, s remap.Sector, p []byte) error {
	return m.write(disks{}, dev, s, p)
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
	m.writeAll(durably{}, dev, start, data)
}

// writeAll writes whole sectors, as far as they can be written.
func (m *Machine) writeAll(on medium, dev remap.Dev, start remap.Sector, data []byte) {
	for i := 0; i < len(data); i += sectorSize {
		m.write(on, dev, start+remap.Sector(i/sectorSize), data[i:][:sectorSize])
	}
}

// Scribble is what somebody else writes during a copy. It is expected to be
// found where it was written.
func (m *Machine) Scribble(dev remap.Dev, start remap.Sector, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writeAll(foretold{m.expect}, dev, start, data)
}

// Top is a device, opened for direct I/O. Each transfer resolves through the
// tables as they are at its moment.
type Top struct {
	m    *Machine
	d    *device
	size int64 // bytes, when it was opened
}

// Open opens a device.
func (m *Machine) Open(dev remap.Dev) *Top {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.devices[dev]
	return &Top{m, d, d.size.Bytes()}
}

// Endpoint opens a device as an end of a copy.
func (m *Machine) Endpoint(dev remap.Dev) ends.Endpoint {
	top := m.Open(dev)
	return ends.Endpoint{Name: top.Name(), Dev: dev, Device: top}
}

// Name implements emulation.Device.
func (t *Top) Name() string { return "/dev/" + t.d.name }

// ID implements emulation.Device.
func (t *Top) ID() string { return "block:" + t.d.dev.String() }

// Size implements emulation.Device.
func (t *Top) Size() int64 { return t.size }

// BlockSize implements emulation.Device.
func (t *Top) BlockSize() int { return t.d.block }

// WriteUnit implements emulation.Device.
func (t *Top) WriteUnit() int { return t.d.block }

// Close lets the device go.
func (t *Top) Close() error { return nil }

// ReadAt implements emulation.Device.
func (t *Top) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), max(t.Size()-off, 0))
	if n == 0 {
		return 0, io.EOF
	}
	done, err := t.transfer("read", p[:n], off, t.m.readSector)
	if err == nil && done < int(n) {
		err = io.EOF
	}
	return done, err
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
	if now := t.d.size.Bytes(); off+int64(len(p)) > now { // it is shorter than it was
		if op != "read" {
			return 0, unix.ENOSPC
		}
		p = p[:max(now-off, 0)]
	}
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
	var below func(*device) error
	below = func(d *device) (err error) {
		if d.leaf != nil {
			err = d.leaf.flush()
		}
		for _, dev := range d.table.below() {
			err = errors.Join(err, below(t.m.devices[dev]))
		}
		return err
	}
	return below(t.d)
}
