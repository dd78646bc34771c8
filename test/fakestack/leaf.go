package fakestack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

const sectorSize = remap.SectorSize

// leaf is a disk. What is written to it is volatile until it is flushed.
type leaf struct {
	facts    remap.Leaf
	software string // by which it works

	mu   sync.Mutex
	data []byte
	undo map[int64][][]byte // what unflushed sectors held before each write since the last flush
	bad  map[int64]error    // sectors that cannot be read
	worn map[int64]error    // sectors that cannot be written
	off  bool               // what is written or flushed has no effect
	// unplugged: commands for it come back with an errno.
	unplugged atomic.Bool
	// forgetful makes the next flush fail.
	forgetful *Outage

	loopback *nvme.Loopback        // of a namespace
	unit     func() scsi.Transport // of a logical unit that can copy
	address  address
}

// address is how commands name a disk and count on it.
type address struct {
	block int64 // bytes
	nsid  uint32
	names []scsi.Designator
}

func (l *leaf) read(sector int64, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.bad[sector]; err != nil {
		return err
	}
	copy(p, l.data[sector*sectorSize:][:sectorSize])
	return nil
}

func (l *leaf) write(sector int64, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return nil
	}
	if err := l.worn[sector]; err != nil {
		return err
	}
	at := l.data[sector*sectorSize:][:sectorSize]
	l.undo[sector] = append(l.undo[sector], bytes.Clone(at))
	copy(at, p)
	return nil
}

// peek is what a sector holds, readable or not.
func (l *leaf) peek(sector int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.data[sector*sectorSize:][:sectorSize])
}

// writeDurable is what somebody else wrote and flushed.
func (l *leaf) writeDurable(sector int64, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	copy(l.data[sector*sectorSize:][:sectorSize], p)
	delete(l.undo, sector)
}

// flush makes everything durable that was written. If it fails, what was written is
// as after an outage, and forgotten: the next flush knows nothing of it.
func (l *leaf) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return nil
	}
	if o := l.forgetful; o != nil {
		l.forgetful = nil
		l.lose(*o)
		return unix.EIO
	}
	clear(l.undo)
	return nil
}

func (l *leaf) turn(off bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = off
}

// silenced: nothing that is written has an effect.
func (l *leaf) silenced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.off
}

func (l *leaf) crash(o Outage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose(o)
}

func (l *leaf) lose(o Outage) {
	for sector, versions := range l.undo {
		if kept := o.keeps(sector, len(versions)); kept < len(versions) {
			copy(l.data[sector*sectorSize:], versions[kept])
		}
	}
	clear(l.undo)
}

// backing is a leaf as the controller sees it.
type backing struct{ *leaf }

var errOffDevice = errors.New("outside of the device")

func (b backing) each(p []byte, off int64, do func(sector int64, p []byte) error) (int, error) {
	if off%sectorSize != 0 || len(p)%sectorSize != 0 {
		return 0, fmt.Errorf("%d bytes at %d: %w", len(p), off, errOffDevice)
	}
	for done := 0; done < len(p); done += sectorSize {
		at := off + int64(done)
		if at < 0 || at+sectorSize > int64(len(b.data)) {
			return done, io.EOF
		}
		if err := do(at/sectorSize, p[done:][:sectorSize]); err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// ReadAt implements nvme.LoopbackBacking.
func (b backing) ReadAt(p []byte, off int64) (int, error) { return b.each(p, off, b.read) }

// WriteAt implements nvme.LoopbackBacking.
func (b backing) WriteAt(p []byte, off int64) (int, error) {
	return b.each(p, off, b.write)
}
