package nvme

import (
	"encoding/binary"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// LoopbackZones are the zones of a namespace of a Loopback. Copy is executed as QEMU 10
// does it: range by range, each of which has to begin at the write pointer of its zone and
// to end within the capacity, and which moves the pointer.
type LoopbackZones struct {
	Size     uint64 // of each zone, in blocks
	Capacity uint64 // in blocks

	mu sync.Mutex
	// written is how far zones were written, in blocks from their start.
	written map[uint64]uint64
	// broken are the states of zones that are read only or offline.
	broken map[uint64]ZoneState
}

// Write says that zone n was written so far, in blocks.
func (z *LoopbackZones) Write(n, written uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.written == nil {
		z.written = make(map[uint64]uint64)
	}
	z.written[n] = written
}

// Written is how far zone n was written, in blocks.
func (z *LoopbackZones) Written(n uint64) uint64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.written[n]
}

// Break puts zone n into a state out of which no command leads.
func (z *LoopbackZones) Break(n uint64, state ZoneState) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.broken == nil {
		z.broken = make(map[uint64]ZoneState)
	}
	z.broken[n] = state
}

// takes tells whether a piece can be copied; without zones, any can.
func (z *LoopbackZones) takes(p blocks.Piece) Status {
	if z == nil {
		return StatusSuccess
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	n, from := p.DstLBA/z.Size, p.SrcLBA/z.Size
	at := p.DstLBA % z.Size
	switch {
	case z.broken[from] == ZoneOffline || z.broken[n] == ZoneOffline:
		return 0x1BB
	case z.broken[n] == ZoneReadOnly:
		return 0x1BA
	case p.SrcLBA%z.Size+p.Blocks > z.Size:
		return 0x1B8
	case z.written[n] == z.Capacity:
		return 0x1B9
	case at != z.written[n]:
		return 0x1BC
	case at+p.Blocks > z.Capacity:
		return 0x1B8
	}
	return StatusSuccess
}

func (z *LoopbackZones) advance(p blocks.Piece) {
	if z != nil {
		z.Write(p.DstLBA/z.Size, p.DstLBA%z.Size+p.Blocks)
	}
}

// report answers Report Zones from the zone on that lba lies in.
func (z *LoopbackZones) report(b []byte, lba, end uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	clear(b)
	room := uint64(len(b)/zoneSize) - 1
	var n uint64
	for i := lba / z.Size; n < room && i*z.Size < end; i++ {
		d := b[zoneHeaderSize+n*zoneSize:]
		d[0], d[1] = zoneSequential, uint8(z.state(i))<<4
		binary.LittleEndian.PutUint64(d[8:], z.Capacity)
		binary.LittleEndian.PutUint64(d[16:], i*z.Size)
		binary.LittleEndian.PutUint64(d[24:], i*z.Size+z.written[i])
		n++
	}
	binary.LittleEndian.PutUint64(b, n)
}

func (z *LoopbackZones) state(n uint64) ZoneState {
	switch {
	case z.broken[n] != 0:
		return z.broken[n]
	case z.written[n] == 0:
		return ZoneEmpty
	case z.written[n] == z.Capacity:
		return ZoneFull
	}
	return ZoneOpen
}

// identify is the inverse of ParseZoneBlocks.
func (z *LoopbackZones) identify() []byte {
	b := make([]byte, IdentifySize)
	binary.LittleEndian.PutUint64(b[2816:], z.Size)
	return b
}
