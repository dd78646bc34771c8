package nvme

import "encoding/binary"

// The data structures that a Loopback answers with.

// identify is the inverse of ParseController.
func (c Controller) identify() []byte {
	b := make([]byte, IdentifySize)
	pad(b[4:24], c.Serial)
	pad(b[24:64], c.Model)
	pad(b[64:72], c.Firmware)
	copy(b[768:1023], c.SubNQN)
	b[77] = c.MDTS
	binary.LittleEndian.PutUint16(b[78:], c.CNTLID)
	binary.LittleEndian.PutUint32(b[80:], c.Version)
	b[261] = bit(c.EffectsLog, 1)
	b[521] = bit(c.Copy, 0) | bit(c.CopySingleAtom, 1)
	b[525] = bit(c.VolatileCache, 0)
	binary.LittleEndian.PutUint16(b[534:], uint16(c.CopyFormats))
	return b
}

func (c Controller) effectsLog() []byte {
	b := make([]byte, 4096)
	if c.Copy {
		b[1024+4*int(OpCopy)] = 0x3 // CSUPP, LBCC
	}
	return b
}

// identify is the inverse of ParseNamespace. A limit of zero ranges, which the
// wire cannot express, becomes an MSSRL of zero.
func (n Namespace) identify() []byte {
	b := make([]byte, IdentifySize)
	binary.LittleEndian.PutUint64(b[0:], n.Blocks)
	binary.LittleEndian.PutUint64(b[8:], n.Blocks)
	binary.LittleEndian.PutUint64(b[16:], n.Blocks)
	b[29] = n.Protection
	b[30] = bit(n.Shared, 0)
	b[99] = bit(n.WriteProtect, 0)
	if n.Limits.Ranges > 0 {
		binary.LittleEndian.PutUint16(b[74:], uint16(n.Limits.RangeBlocks))
		b[80] = uint8(n.Limits.Ranges - 1)
	}
	binary.LittleEndian.PutUint32(b[76:], n.Limits.CommandBlocks)
	copy(b[104:], n.NGUID[:])
	copy(b[120:], n.EUI64[:])
	b[25], b[26] = n.Format, n.Format&0xF|n.Format>>4<<5
	lbaf := b[128+4*int(n.Format):]
	binary.LittleEndian.PutUint16(lbaf, n.MetadataSize)
	for n.BlockSize>>lbaf[2] > 1 {
		lbaf[2]++
	}
	return b
}

func (n *loopbackNamespace) descriptors() []byte {
	b := make([]byte, IdentifySize)
	copy(b, []byte{nidtNGUID, 16, 0, 0})
	copy(b[4:], n.NGUID[:])
	copy(b[20:], []byte{nidtCSI, 1, 0, 0, uint8(n.CommandSet)})
	return b
}

func pad(field []byte, s string) {
	for i := copy(field, s); i < len(field); i++ {
		field[i] = ' '
	}
}

func bit(set bool, shift uint) byte {
	if set {
		return 1 << shift
	}
	return 0
}
