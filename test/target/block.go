package target

import (
	"context"
	"encoding/binary"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// The commands of every disk. SBC-3, clause 5.

func (t *Target) ready(*unit, *Command) Reply { return Reply{} }

// synchronize makes all of a medium durable that has to be told so: a file, or a [Cache]. SBC-3, 5.29.
func (t *Target) synchronize(u *unit, _ *Command) Reply {
	if u.sync() != nil {
		return refuse(mediumUnreachable)
	}
	return Reply{}
}

func (u *unit) sync() error {
	if m, ok := u.medium.(interface{ Sync() error }); ok {
		return m.Sync()
	}
	return nil
}

// requestSense has nothing to tell: sense data go with the answers. SPC-4, 6.39.
func (t *Target) requestSense(_ *unit, c *Command) Reply {
	b := make([]byte, 18)
	b[0], b[7] = 0x70, 10
	return give(c, b, uint32(c.CDB[4]))
}

// reportUnits: SPC-4, 6.33.
func (t *Target) reportUnits(_ *unit, c *Command) Reply {
	b := make([]byte, 8+8*len(t.units))
	binary.BigEndian.PutUint32(b, uint32(8*len(t.units)))
	for i := range t.units {
		b[8+8*i+1] = byte(i)
	}
	return give(c, b, binary.BigEndian.Uint32(c.CDB[6:]))
}

func (t *Target) capacity10(u *unit, c *Command) Reply {
	b := make([]byte, 8)
	binary.BigEndian.PutUint32(b, uint32(min(u.blocks-1, 1<<32-1)))
	binary.BigEndian.PutUint32(b[4:], u.block)
	return give(c, b, 8)
}

func (t *Target) capacity16(u *unit, c *Command) Reply {
	b := make([]byte, 32)
	binary.BigEndian.PutUint64(b, u.blocks-1)
	binary.BigEndian.PutUint32(b[8:], u.block)
	return give(c, b, binary.BigEndian.Uint32(c.CDB[10:]))
}

// Mode pages. SBC-3, 6.5.5 and SPC-4, 7.5.8.
const (
	pageCaching = 0x08
	pageControl = 0x0A
	pageAll     = 0x3F

	knowsFUA = 1 << 4 // DPOFUA of the device-specific parameter. SBC-3, 6.5.2
)

// modeSense tells of a volatile cache. SPC-4, 6.13 and 6.14; changeable values are none, and there are no block
// descriptors.
func (t *Target) modeSense(_ *unit, c *Command) Reply {
	wanted, subpage := c.CDB[2]&0x3F, c.CDB[3]
	if subpage != 0 && subpage != 0xFF || wanted != pageCaching && wanted != pageControl && wanted != pageAll {
		return refuse(invalidCDB)
	}
	var pages []byte
	if wanted != pageControl {
		caching := make([]byte, 20)
		caching[0], caching[1], caching[2] = pageCaching, 18, 1<<2 // WCE
		pages = append(pages, caching...)
	}
	if wanted != pageCaching {
		control := make([]byte, 12)
		control[0], control[1] = pageControl, 10
		pages = append(pages, control...)
	}
	if c.CDB[2]>>6 == 1 { // changeable values
		clearValues(pages)
	}
	if c.CDB[0] == 0x1A {
		return give(c, append([]byte{byte(3 + len(pages)), 0, knowsFUA, 0}, pages...), uint32(c.CDB[4]))
	}
	head := make([]byte, 8)
	head[3] = knowsFUA
	binary.BigEndian.PutUint16(head, uint16(6+len(pages)))
	return give(c, append(head, pages...), uint32(binary.BigEndian.Uint16(c.CDB[7:])))
}

// clearValues leaves the heads of mode pages only.
func clearValues(pages []byte) {
	for len(pages) > 0 {
		n := 2 + int(pages[1])
		clear(pages[2:n])
		pages = pages[n:]
	}
}

// blocksOf reads the place and the length out of a CDB of READ or WRITE.
func blocksOf(cdb []byte) (lba, blocks uint64) {
	switch cdb[0] {
	case 0x08:
		n := uint64(cdb[4])
		if n == 0 {
			n = 256
		}
		return uint64(cdb[1]&0x1F)<<16 | uint64(cdb[2])<<8 | uint64(cdb[3]), n
	case 0x28, 0x2A:
		return uint64(binary.BigEndian.Uint32(cdb[2:])), uint64(binary.BigEndian.Uint16(cdb[7:]))
	}
	return binary.BigEndian.Uint64(cdb[2:]), uint64(binary.BigEndian.Uint32(cdb[10:]))
}

func (u *unit) contains(lba, blocks uint64) bool {
	return lba <= u.blocks && blocks <= u.blocks-lba
}

// transfer reads the place and the length of a READ or WRITE, and refuses what is not possible. A unit without protection
// information takes no RDPROTECT or WRPROTECT but 0: SBC-3, 5.8 and 5.32.
func (u *unit) transfer(c *Command) (off int64, bytes int, bad *scsi.SenseCode) {
	lba, blocks := blocksOf(c.CDB)
	switch {
	case c.CDB[0] != 0x08 && c.CDB[1]>>5 != 0, blocks > maxTransferBytes/uint64(u.block):
		return 0, 0, &invalidCDB
	case !u.contains(lba, blocks):
		return 0, 0, &outOfRange
	}
	return int64(lba * uint64(u.block)), int(blocks * uint64(u.block)), nil
}

func (t *Target) read(_ context.Context, u *unit, c *Command, f Fault) Reply {
	off, bytes, bad := u.transfer(c)
	if bad != nil {
		return refuse(*bad)
	}
	data := make([]byte, bytes)
	if _, err := (locked{u}).ReadAt(data, off); err != nil {
		return refuse(mediumUnreachable)
	}
	f.spoil(data)
	return Reply{In: data[:min(bytes, max(c.Room, 0))], Wanted: bytes}
}

// write writes the whole blocks that have come.
func (t *Target) write(_ context.Context, u *unit, c *Command, f Fault) Reply {
	off, bytes, bad := u.transfer(c)
	if bad != nil {
		return refuse(*bad)
	}
	data := c.Out[:min(bytes, len(c.Out))]
	data = data[:len(data)-len(data)%int(u.block)]
	f.spoil(data)
	if _, err := (locked{u}).WriteAt(data, off); err != nil {
		return refuse(mediumUnreachable)
	}
	if c.CDB[1]&forceUnitAccess != 0 && u.sync() != nil {
		return refuse(mediumUnreachable)
	}
	return Reply{Wanted: bytes}
}

// forceUnitAccess is FUA: on the medium before the command ends. SBC-3, 5.8 and 5.32. READ has nothing to do for it, since
// no cache differs from its medium.
const forceUnitAccess = 1 << 3
