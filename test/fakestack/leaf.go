package fakestack

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

const sectorSize = remap.SectorSize

// leaf is a disk. What is written to it is volatile until it is flushed.
type leaf struct {
	facts remap.Leaf

	mu   sync.Mutex
	data []byte
	undo map[int64][]byte // what unflushed sectors held at the last flush
	bad  map[int64]error  // sectors that cannot be read
	off  bool             // what is written or flushed has no effect

	loopback *nvme.Loopback        // of a namespace
	unit     func() scsi.Transport // of a logical unit that can copy
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

func (l *leaf) write(sector int64, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return
	}
	at := l.data[sector*sectorSize:][:sectorSize]
	if _, known := l.undo[sector]; !known {
		l.undo[sector] = append([]byte(nil), at...)
	}
	copy(at, p)
}

// writeDurable is what somebody else wrote and flushed.
func (l *leaf) writeDurable(sector int64, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	copy(l.data[sector*sectorSize:][:sectorSize], p)
	delete(l.undo, sector)
}

func (l *leaf) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.off {
		clear(l.undo)
	}
}

func (l *leaf) turn(off bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = off
}

func (l *leaf) crash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for sector, old := range l.undo {
		copy(l.data[sector*sectorSize:], old)
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
	return b.each(p, off, func(sector int64, p []byte) error {
		b.write(sector, p)
		return nil
	})
}
