package target

import "encoding/binary"

// thirdParty is the third-party copy page without its head. SPC-4, 7.8.17; SBC-3, 6.6.6.
func (t *Target) thirdParty() (page []byte) {
	page = append(page, thirdPartyDescriptor(0x0001, t.supportedCommands())...)
	if l := t.config.XCopy; l != nil {
		page = append(page, copyDescriptors(*l)...)
	}
	if l := t.config.Tokens; l != nil {
		page = append(page, tokenDescriptors(*l)...)
	}
	return page
}

// thirdPartyDescriptor puts a head before a body, which is filled up to words of four bytes.
func thirdPartyDescriptor(kind uint16, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	d := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint16(d, kind)
	binary.BigEndian.PutUint16(d[2:], uint16(len(body)))
	return append(d, body...)
}

// supportedCommands: SPC-4, table 666.
func (t *Target) supportedCommands() []byte {
	var out, in []byte
	if t.config.XCopy != nil {
		out = append(out, 0x00)
		in = append(in, 0x00, 0x03, 0x04)
	}
	if t.config.Tokens != nil {
		out = append(out, 0x10, 0x11, 0x1C)
		in = append(in, 0x05, 0x07)
	}
	list := append([]byte{0x83, byte(len(out))}, out...)
	list = append(append(list, 0x84, byte(len(in))), in...)
	return append([]byte{byte(len(list))}, list...)
}

// copyDescriptors bound EXTENDED COPY: parameter data, supported descriptors, general copy operations. SPC-4, 7.8.17.6
// to 7.8.17.11.
func copyDescriptors(l CopyLimits) []byte {
	parameters := make([]byte, 28)
	binary.BigEndian.PutUint16(parameters[4:], l.Units)
	binary.BigEndian.PutUint16(parameters[6:], l.Segments)
	binary.BigEndian.PutUint32(parameters[8:], l.ListBytes)
	page := thirdPartyDescriptor(0x0004, parameters)

	page = append(page, thirdPartyDescriptor(0x0008, []byte{2, segmentOfBlocks, cscdByDesignator})...)

	general := make([]byte, 32)
	binary.BigEndian.PutUint32(general, 255) // copies at a time
	binary.BigEndian.PutUint32(general[4:], 255)
	binary.BigEndian.PutUint32(general[8:], l.SegmentBytes)
	general[12] = 9 // granularity: 512 bytes
	return append(page, thirdPartyDescriptor(0x8001, general)...)
}

// ROD types. SPC-4, table 110.
const (
	rodAccessUponReference = 0x00010000
	rodZero                = 0xFFFF0001
)

// tokenDescriptors bound token copies.
func tokenDescriptors(l TokenLimits) []byte {
	// Block device ROD limits: SBC-3, 6.6.6.3.
	limits := make([]byte, 32)
	binary.BigEndian.PutUint16(limits[6:], l.Ranges)
	binary.BigEndian.PutUint32(limits[8:], l.MaxTimeout)
	binary.BigEndian.PutUint32(limits[12:], l.DefaultTimeout)
	binary.BigEndian.PutUint64(limits[16:], l.TransferBlocks)
	binary.BigEndian.PutUint64(limits[24:], l.OptimalBlocks)
	page := thirdPartyDescriptor(0x0000, limits)

	// ROD token features, with those of block devices in it: SPC-4, 7.8.17.8. No remote tokens.
	features := make([]byte, 84)
	binary.BigEndian.PutUint32(features[12:], 1)            // minimum lifetime
	binary.BigEndian.PutUint32(features[16:], l.MaxTimeout) // maximum lifetime
	binary.BigEndian.PutUint32(features[20:], l.MaxTimeout) // maximum inactivity
	binary.BigEndian.PutUint16(features[42:], 40)
	binary.BigEndian.PutUint16(features[46:], 36)
	page = append(page, thirdPartyDescriptor(0x0106, features)...)

	// Supported RODs: SPC-4, 7.8.17.9.
	rods := make([]byte, 4+2*64)
	binary.BigEndian.PutUint16(rods[2:], 2*64)
	binary.BigEndian.PutUint32(rods[4:], rodAccessUponReference)
	rods[8] = 3 // tokens come and go
	binary.BigEndian.PutUint16(rods[10:], 0xFFFF)
	binary.BigEndian.PutUint32(rods[68:], rodZero)
	rods[72] = 2 // tokens are taken
	return append(page, thirdPartyDescriptor(0x0108, rods)...)
}
