package iscsi

import (
	"fmt"
	"net"
	"strconv"
)

// Stages of a login. RFC 7143, 11.12.3.
const (
	stageSecurity    = 0
	stageOperational = 1
	stageFull        = 3
)

// Lengths in bytes that are declared to the initiator. With InitialR2T nothing but immediate data comes unasked.
const (
	firstBurst = 64 << 10
	maxBurst   = 256 << 10
)

// session is what a login agrees on.
type session struct {
	initiator string
	target    string
	discovery bool
	isid      [6]byte
	receive   int // bytes of data that the initiator takes in a PDU
}

// nexus names the initiator port: its name and its part of the session identifier. SAM-5, annex A.
func (s *session) nexus() string { return fmt.Sprintf("%s,i,0x%x", s.initiator, s.isid) }

// answers to the keys that an initiator may offer, for the ones with one answer only. RFC 7143, clause 13.
var answers = map[string]string{
	"HeaderDigest": "None", "DataDigest": "None", "AuthMethod": "None",
	"MaxConnections": "1", "InitialR2T": "Yes", "ImmediateData": "Yes",
	"DefaultTime2Wait": "2", "DefaultTime2Retain": "0", "MaxOutstandingR2T": "1", "ErrorRecoveryLevel": "0",
	"DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes", "IFMarker": "No", "OFMarker": "No",
}

// limits are the keys whose result is the smaller number.
var limits = map[string]int{"FirstBurstLength": firstBurst, "MaxBurstLength": maxBurst}

// negotiate answers the keys of one request.
func (s *session) negotiate(pairs []pair) (reply []pair, err error) {
	for _, p := range pairs {
		switch p.key {
		case "InitiatorName":
			s.initiator = p.value
		case "TargetName":
			s.target = p.value
		case "SessionType":
			s.discovery = p.value == "Discovery"
		case "InitiatorAlias":
		case "MaxRecvDataSegmentLength":
			n, err := strconv.Atoi(p.value)
			if err != nil || n < 512 || n >= 1<<24 {
				return nil, fmt.Errorf("%w: %s=%q", errProtocol, p.key, p.value)
			}
			s.receive = min(n, maxData)
			reply = append(reply, pair{p.key, strconv.Itoa(maxData)})
		default:
			value, err := answerTo(p)
			if err != nil {
				return nil, err
			}
			reply = append(reply, pair{p.key, value})
		}
	}
	return reply, nil
}

func answerTo(p pair) (string, error) {
	if value, ok := answers[p.key]; ok {
		return value, nil
	}
	ours, ok := limits[p.key]
	if !ok {
		return "NotUnderstood", nil
	}
	theirs, err := strconv.Atoi(p.value)
	if err != nil || theirs < 512 {
		return "", fmt.Errorf("%w: %s=%q", errProtocol, p.key, p.value)
	}
	return strconv.Itoa(min(ours, theirs)), nil
}

// Login status. RFC 7143, 11.13.5.
const (
	loginOK        = 0x0000
	loginError     = 0x0200
	loginNoTarget  = 0x0203
	loginMissing   = 0x0207
	portalGroupTag = "1"
)

// login answers requests until the session is in its full feature phase.
func (c *connection) login() error {
	var text []byte
	for greeted := false; ; {
		p, err := readPDU(c.in)
		if err != nil {
			return err
		}
		if p.opcode() != opLogin {
			return fmt.Errorf("%w: opcode %02xh during login", errProtocol, p.opcode())
		}
		c.expected = p.u32(24)
		copy(c.session.isid[:], p.head[8:14])
		text = append(text, p.data...)
		if p.head[1]&0x40 != 0 { // C: the text goes on
			if err := c.loginAnswer(p, nil, loginOK, false); err != nil {
				return err
			}
			continue
		}
		pairs, err := parseText(text)
		if err != nil {
			return err
		}
		text = nil
		reply, err := c.session.negotiate(pairs)
		if err != nil {
			return c.loginRefuse(p, loginError, err)
		}
		if !greeted {
			if status, err := c.admit(); err != nil {
				return c.loginRefuse(p, status, err)
			}
			greeted = true
			reply = append(reply, pair{"TargetPortalGroupTag", portalGroupTag})
		}
		transit := p.head[1]&final != 0
		if err := c.loginAnswer(p, reply, loginOK, transit); err != nil {
			return err
		}
		if transit && p.head[1]&3 == stageFull {
			return nil
		}
	}
}

// admit looks whether the initiator wants something that is here.
func (c *connection) admit() (uint16, error) {
	s := &c.session
	switch {
	case s.initiator == "":
		return loginMissing, fmt.Errorf("%w: no InitiatorName", errProtocol)
	case !s.discovery && s.target != c.server.name:
		return loginNoTarget, fmt.Errorf("iscsi: there is no target %q", s.target)
	}
	return loginOK, nil
}

func (c *connection) loginRefuse(p *pdu, status uint16, why error) error {
	if err := c.loginAnswer(p, nil, status, false); err != nil {
		return err
	}
	return why
}

// loginAnswer: RFC 7143, 11.13.
func (c *connection) loginAnswer(p *pdu, reply []pair, status uint16, transit bool) error {
	flags := p.head[1] & 0x0C // the current stage
	if transit {
		flags = p.head[1] & (final | 0x0F)
	}
	a := p.answer(opLoginResponse, flags)
	copy(a.head[8:14], p.head[8:14])
	a.head[15] = c.server.handle
	a.head[36], a.head[37] = byte(status>>8), byte(status)
	a.data = encodeText(reply)
	return c.send(a)
}

// discover answers SendTargets. RFC 7143, appendix C.
func (c *connection) discover(pairs []pair) (reply []pair) {
	for _, p := range pairs {
		if p.key == "SendTargets" {
			address := c.conn.LocalAddr().(*net.TCPAddr)
			reply = append(reply, pair{"TargetName", c.server.name}, pair{"TargetAddress", address.String() + "," + portalGroupTag})
			continue
		}
		reply = append(reply, pair{p.key, "NotUnderstood"})
	}
	return reply
}
