package target

import (
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// identify makes the names of a unit: those of the unit itself, and those of the target, by which units of one target are
// known. SPC-4, 7.8.6.
func identify(target uint8, number int, capacity scsi.Capacity) scsi.Identity {
	// NAA 6h: an identifier of IEEE (a locally administered one), then what the vendor likes. SPC-4, 7.8.6.6.5.
	naa := []byte{0x62, 0xDC, 0x09, 0xE0, target, byte(number), 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(number)}
	port := fmt.Appendf(nil, "naa.32dc09e0000000%02x", target)
	return scsi.Identity{
		Designators: []scsi.Designator{
			{CodeSet: 1, Association: scsi.LogicalUnit, Type: scsi.TypeNAA, Value: naa},
			{CodeSet: 1, Association: scsi.TargetPort, Type: 4, Value: []byte{0, 0, 0, 1}},
			{CodeSet: 3, Association: scsi.TargetDevice, Type: scsi.TypeName, Value: append(port, make([]byte, 4)...)},
		},
		Serial:   fmt.Sprintf("dmcopy-%02x-%02x", target, number),
		Capacity: capacity,
	}
}

// inquire: SPC-4, 6.6.
func (t *Target) inquire(u *unit, c *Command) Reply {
	allocation := uint32(binary.BigEndian.Uint16(c.CDB[3:]))
	if c.CDB[1]&1 == 0 {
		if c.CDB[2] != 0 {
			return refuse(invalidCDB)
		}
		return give(c, t.standard(), allocation)
	}
	body, ok := t.page(u, c.CDB[2])
	if !ok {
		return refuse(invalidCDB)
	}
	head := []byte{0, c.CDB[2], 0, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(len(body)))
	return give(c, append(head, body...), allocation)
}

// standard data of a disk. SPC-4, 6.6.2.
func (t *Target) standard() []byte {
	b := make([]byte, 96)
	b[2], b[3], b[4] = 6, 2, 91 // SPC-4
	if t.copies() {
		b[5] = 1 << 3 // 3PC
	}
	b[7] = 1 << 1 // CMDQUE
	copy(b[8:], "DMCOPY  test target     0001")
	// Version descriptors: SAM-5, SPC-4, SBC-3, iSCSI. SPC-4, table 177.
	for i, version := range []uint16{0x00A0, 0x0460, 0x04C0, 0x0960} {
		binary.BigEndian.PutUint16(b[58+2*i:], version)
	}
	return b
}

func (t *Target) copies() bool { return t.config.XCopy != nil || t.config.Tokens != nil }

// page is a page of vital product data without its head.
func (t *Target) page(u *unit, number uint8) ([]byte, bool) {
	identity := t.Identity(u.number)
	switch number {
	case 0x00:
		pages := []byte{0x00, 0x80, 0x83, 0xB0, 0xB1}
		if t.copies() {
			pages = []byte{0x00, 0x80, 0x83, 0x8F, 0xB0, 0xB1}
		}
		return pages, true
	case 0x80:
		return []byte(identity.Serial), true
	case 0x83:
		return designators(identity.Designators), true
	case 0x8F:
		return t.thirdParty(), t.copies()
	case 0xB0:
		return blockLimits(u), true
	case 0xB1: // not rotating: SBC-3, 6.6.2
		b := make([]byte, 60)
		b[1] = 1
		return b, true
	}
	return nil, false
}

func designators(all []scsi.Designator) (b []byte) {
	for _, d := range all {
		b = append(b, d.CodeSet, byte(d.Association)<<4|byte(d.Type), 0, byte(len(d.Value)))
		b = append(b, d.Value...)
	}
	return b
}

// maxTransferBytes bounds a READ or WRITE.
const maxTransferBytes = 1 << 20

// blockLimits: SBC-3, 6.6.3. No UNMAP, no WRITE SAME.
func blockLimits(u *unit) []byte {
	b := make([]byte, 60)
	binary.BigEndian.PutUint16(b[2:], 1) // granularity
	binary.BigEndian.PutUint32(b[4:], maxTransferBytes/u.block)
	binary.BigEndian.PutUint32(b[8:], maxTransferBytes/u.block)
	return b
}
