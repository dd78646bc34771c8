// Package iscsi lets an initiator reach a test target over TCP: RFC 7143, as much of it as the kernel's initiator
// (drivers/scsi/iscsi_tcp.c, libiscsi.c) and open-iscsi need. One connection a session, no authentication, no digests,
// error recovery level 0: a connection that breaks ends its session, and the initiator logs in again.
package iscsi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Opcodes. RFC 7143, 11.2.1.2.
const (
	opNOPOut  = 0x00
	opCommand = 0x01
	opTask    = 0x02
	opLogin   = 0x03
	opText    = 0x04
	opDataOut = 0x05
	opLogout  = 0x06

	opNOPIn          = 0x20
	opResponse       = 0x21
	opTaskResponse   = 0x22
	opLoginResponse  = 0x23
	opTextResponse   = 0x24
	opDataIn         = 0x25
	opLogoutResponse = 0x26
	opReady          = 0x31 // R2T
	opReject         = 0x3F
)

const (
	headSize = 48
	final    = 0x80 // F, bit 7 of byte 1
	noTag    = 0xFFFFFFFF

	// maxData bounds what one PDU brings: MaxRecvDataSegmentLength, which is declared at login.
	maxData = 256 << 10
)

var errProtocol = errors.New("iscsi: protocol error")

// pdu is a protocol data unit: a head and data. RFC 7143, 11.2.
type pdu struct {
	head [headSize]byte
	data []byte
}

func (p *pdu) opcode() uint8     { return p.head[0] & 0x3F }
func (p *pdu) immediate() bool   { return p.head[0]&0x40 != 0 }
func (p *pdu) u32(at int) uint32 { return binary.BigEndian.Uint32(p.head[at:]) }

func (p *pdu) put32(at int, v uint32) { binary.BigEndian.PutUint32(p.head[at:], v) }

// tag is the INITIATOR TASK TAG.
func (p *pdu) tag() uint32 { return p.u32(16) }

// answer begins an answer.
func (p *pdu) answer(opcode, flags uint8) *pdu {
	a := &pdu{}
	a.head[0], a.head[1] = opcode, flags
	copy(a.head[16:20], p.head[16:20])
	return a
}

// readPDU reads the next one. Additional heads are passed over: they hold CDBs of more than 16 bytes and bidirectional
// lengths, neither of which occurs.
func readPDU(r io.Reader) (*pdu, error) {
	p := &pdu{}
	if _, err := io.ReadFull(r, p.head[:]); err != nil {
		return nil, err
	}
	additional := int(p.head[4]) * 4
	length := int(p.head[5])<<16 | int(p.head[6])<<8 | int(p.head[7])
	if length > maxData {
		return nil, fmt.Errorf("%w: %d bytes of data", errProtocol, length)
	}
	if _, err := io.CopyN(io.Discard, r, int64(additional)); err != nil {
		return nil, err
	}
	p.data = make([]byte, (length+3)&^3)
	if _, err := io.ReadFull(r, p.data); err != nil {
		return nil, err
	}
	p.data = p.data[:length]
	return p, nil
}

// encode is the PDU as it goes over the wire.
func (p *pdu) encode() []byte {
	n := len(p.data)
	p.head[5], p.head[6], p.head[7] = byte(n>>16), byte(n>>8), byte(n)
	b := make([]byte, headSize, headSize+n+3)
	copy(b, p.head[:])
	b = append(b, p.data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
