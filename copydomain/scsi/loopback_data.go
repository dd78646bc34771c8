package scsi

import (
	"encoding/binary"
	"math/bits"
)

// The data that a Loopback answers with.

// SenseCompletion is a CHECK CONDITION with sense data in the fixed format, as
// most devices send it.
func SenseCompletion(code SenseCode) Completion {
	return Completion{Status: CheckCondition, Driver: driverSense, Sense: fixedSense(code)}
}

func fixedSense(code SenseCode) []byte {
	b := make([]byte, 18)
	b[0], b[2], b[7], b[12], b[13] = senseFixed, byte(code.Key), 10, code.ASC, code.ASCQ
	return b
}

func descriptorSense(code SenseCode) []byte {
	return []byte{senseDescriptor, byte(code.Key), code.ASC, code.ASCQ, 0, 0, 0, 0}
}

func (b *Behaviour) sense(code SenseCode) Completion {
	c := SenseCompletion(code)
	if b.Descriptor {
		c.Sense = descriptorSense(code)
	}
	return c
}

// aborted is COPY ABORTED, with what the unit answered if the target tells.
func (b *Behaviour) aborted(f Forwarded) Completion {
	c := b.sense(SenseCode{CopyAborted, 0x0D, 0x02})
	switch {
	case !b.Forwards:
	case b.Descriptor:
		c.Sense = append(c.Sense, descriptorForwarded, byte(2+len(f.Sense)), 0, byte(f.Status))
		c.Sense = append(c.Sense, f.Sense...)
		c.Sense[7] = byte(len(c.Sense) - 8)
	default:
		c.Sense[8] = byte(len(c.Sense)) // where the answer of the source begins
		c.Sense = append(append(c.Sense, byte(f.Status)), f.Sense...)
		c.Sense[7] = byte(len(c.Sense) - 8)
	}
	return c
}

func (b *Behaviour) inquire(c *Command, u LoopbackUnit) Completion {
	if c.CDB[1] == 0 {
		return fill(c, b.standard(u))
	}
	pages := map[uint8][]byte{
		pageSupported:  {pageSupported, pageSerial, pageDesignator},
		pageSerial:     []byte(u.Serial),
		pageDesignator: encodeDesignators(u.Designators),
	}
	if b.ThirdPartyVPD {
		pages[pageSupported] = append(pages[pageSupported], pageThirdParty)
		pages[pageThirdParty] = b.thirdParty()
	}
	body, ok := pages[c.CDB[2]]
	if !ok {
		return b.sense(SenseCode{IllegalRequest, 0x24, 0x00})
	}
	head := []byte{u.DeviceType, c.CDB[2], 0, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(len(body)))
	return fill(c, append(head, body...))
}

// standard is the inverse of ParseInquiry.
func (b *Behaviour) standard(u LoopbackUnit) []byte {
	d := make([]byte, 36)
	d[0], d[2], d[3], d[4] = u.DeviceType, 6, 2, 31
	if !b.ThirdPartyOff {
		d[5] = 1 << 3
	}
	copy(d[8:], "DMCOPY  loopback        0001")
	return d
}

func encodeDesignators(all []Designator) []byte {
	var b []byte
	for _, d := range all {
		b = append(b, d.CodeSet, byte(d.Association)<<4|byte(d.Type), 0, byte(len(d.Value)))
		b = append(b, d.Value...)
	}
	return b
}

// capacity is the inverse of the parsers of capacities.
func (u LoopbackUnit) capacity(op Opcode) []byte {
	b := make([]byte, allocationCapacity16)
	if op == OpReadCapacity10 {
		binary.BigEndian.PutUint32(b, uint32(min(u.Capacity.Blocks-1, 1<<32-1)))
		binary.BigEndian.PutUint32(b[4:], u.Capacity.BlockSize)
		return b[:allocationCapacity10]
	}
	binary.BigEndian.PutUint64(b, u.Capacity.Blocks-1)
	binary.BigEndian.PutUint32(b[8:], u.Capacity.BlockSize)
	if u.Capacity.Protected {
		b[12] = 1
	}
	return b
}

// encode is the inverse of ParseParameters.
func (p Parameters) encode() []byte {
	b := make([]byte, 44, 44+len(p.Types))
	binary.BigEndian.PutUint32(b, uint32(40+len(p.Types)))
	if p.NoListID {
		b[4] = 1
	}
	binary.BigEndian.PutUint16(b[8:], p.Descriptors)
	binary.BigEndian.PutUint16(b[10:], p.Segments)
	binary.BigEndian.PutUint32(b[12:], p.ListBytes)
	binary.BigEndian.PutUint32(b[16:], p.SegmentBytes)
	binary.BigEndian.PutUint16(b[34:], p.TotalConcurrent)
	b[36] = p.MaxConcurrent
	b[37] = byte(bits.Len64(max(p.Granularity, 1)) - 1)
	b[43] = byte(len(p.Types))
	return append(b, p.Types...)
}

// thirdParty is page 8Fh without its head.
func (b *Behaviour) thirdParty() []byte {
	actions := []byte{}
	if b.Short {
		actions = append(actions, saExtendedCopyLID1)
	}
	if b.Long {
		actions = append(actions, saExtendedCopyLID4)
	}
	commands := append([]byte{byte(OpThirdPartyOut), byte(len(actions))}, actions...)
	commands = append(commands, byte(OpThirdPartyIn), 1, saReceiveParameters)
	page := descriptor(thirdPartyCommands, append([]byte{byte(len(commands))}, commands...))

	parameters := make([]byte, 28)
	binary.BigEndian.PutUint16(parameters[4:], b.Parameters.Descriptors)
	binary.BigEndian.PutUint16(parameters[6:], b.Parameters.Segments)
	binary.BigEndian.PutUint32(parameters[8:], b.Parameters.ListBytes)
	page = append(page, descriptor(thirdPartyParameters, parameters)...)

	types := append([]byte{byte(len(b.Parameters.Types))}, b.Parameters.Types...)
	page = append(page, descriptor(thirdPartyDescriptors, types)...)

	general := make([]byte, 32)
	binary.BigEndian.PutUint32(general, uint32(b.Parameters.TotalConcurrent))
	binary.BigEndian.PutUint32(general[8:], b.Parameters.SegmentBytes)
	general[12] = byte(bits.Len64(max(b.Parameters.Granularity, 1)) - 1)
	return append(page, descriptor(thirdPartyGeneral, general)...)
}

// descriptor puts a head before the body, which is filled up to words of four
// bytes.
func descriptor(kind uint16, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	d := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint16(d, kind)
	binary.BigEndian.PutUint16(d[2:], uint16(len(body)))
	return append(d, body...)
}
