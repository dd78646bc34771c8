package scsi

import "encoding/binary"

// Opcode is the first byte of a command descriptor block.
type Opcode uint8

// Commands that this package sends.
const (
	OpTestUnitReady      Opcode = 0x00
	OpInquiry            Opcode = 0x12
	OpReadCapacity10     Opcode = 0x25
	OpSynchronizeCache10 Opcode = 0x35
	OpThirdPartyOut      Opcode = 0x83
	OpThirdPartyIn       Opcode = 0x84
	OpSynchronizeCache16 Opcode = 0x91
	OpServiceActionIn16  Opcode = 0x9E
)

// Service actions, bits 4:0 of byte 1.
const (
	saExtendedCopyLID1   = 0x00
	saExtendedCopyLID4   = 0x01
	saReceiveStatusLID1  = 0x00
	saReceiveParameters  = 0x03
	saReceiveStatusLID4  = 0x05
	saReadCapacity16     = 0x10
	serviceActionMask    = 0x1F
	inquiryEVPD          = 0x01
	allocationInquiry    = 0x3FFF // what VPD pages are asked with: no real one is longer
	allocationStandard   = 36     // what every device survives
	allocationCapacity16 = 32
	allocationCapacity10 = 8
	allocationParameters = 512
	allocationStatusLID1 = 12
	allocationStatusLID4 = 512
)

// testUnitReady: SPC-4, 6.47.
func testUnitReady() Command { return Command{CDB: make([]byte, 6)} }

// inquiry asks for the standard data: SPC-4, 6.6.
func inquiry() Command {
	return Command{CDB: []byte{byte(OpInquiry), 0, 0, 0, allocationStandard, 0}, Data: make([]byte, allocationStandard)}
}

// inquiryPage asks for a page of vital product data.
func inquiryPage(page uint8) Command {
	cdb := []byte{byte(OpInquiry), inquiryEVPD, page, 0, 0, 0}
	binary.BigEndian.PutUint16(cdb[3:], allocationInquiry)
	return Command{CDB: cdb, Data: make([]byte, allocationInquiry)}
}

// readCapacity10: SBC-3, 5.15.
func readCapacity10() Command {
	cdb := make([]byte, 10)
	cdb[0] = byte(OpReadCapacity10)
	return Command{CDB: cdb, Data: make([]byte, allocationCapacity10)}
}

// readCapacity16: SBC-3, 5.16.
func readCapacity16() Command {
	cdb := make([]byte, 16)
	cdb[0], cdb[1] = byte(OpServiceActionIn16), saReadCapacity16
	binary.BigEndian.PutUint32(cdb[10:], allocationCapacity16)
	return Command{CDB: cdb, Data: make([]byte, allocationCapacity16)}
}

// synchronizeCache asks that all blocks be written to the medium: SBC-3, 5.22 and
// 5.23. Zero blocks from LBA 0 are all of them; IMMED is not set.
func synchronizeCache(op Opcode) Command {
	cdb := make([]byte, 16)
	if op == OpSynchronizeCache10 {
		cdb = cdb[:10]
	}
	cdb[0] = byte(op)
	return Command{CDB: cdb}
}

// receiveParameters is RECEIVE COPY OPERATING PARAMETERS: SPC-4, 6.21.
func receiveParameters() Command {
	return receive(saReceiveParameters, allocationParameters)
}

// receiveStatusLID1 is RECEIVE COPY STATUS(LID1): SPC-4, 6.23.
func receiveStatusLID1(id uint8) Command {
	c := receive(saReceiveStatusLID1, allocationStatusLID1)
	c.CDB[2] = id
	return c
}

// receiveStatusLID4 is RECEIVE COPY STATUS(LID4): SPC-4, 6.24.
func receiveStatusLID4(id uint32) Command {
	c := receive(saReceiveStatusLID4, allocationStatusLID4)
	binary.BigEndian.PutUint32(c.CDB[2:], id)
	return c
}

func receive(action uint8, allocation uint32) Command {
	cdb := make([]byte, 16)
	cdb[0], cdb[1] = byte(OpThirdPartyIn), action
	binary.BigEndian.PutUint32(cdb[10:], allocation)
	return Command{CDB: cdb, Data: make([]byte, allocation)}
}

// extendedCopy fills cdb for a parameter list of that many bytes: SPC-4, 6.4 and
// 6.5.
func extendedCopy(cdb *[16]byte, form Form, length int) {
	*cdb = [16]byte{0: byte(OpThirdPartyOut), 1: saExtendedCopyLID1}
	if form == LID4 {
		cdb[1] = saExtendedCopyLID4
	}
	binary.BigEndian.PutUint32(cdb[10:], uint32(length))
}
