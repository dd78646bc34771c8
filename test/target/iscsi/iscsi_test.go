package iscsi

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/target"
)

const name = "iqn.2026-01.org.dmcopy:disks"

// client is an initiator of few words.
type client struct {
	testing.TB
	net.Conn
	in  *bufio.Reader
	seq uint32
}

func serve(t testing.TB) (*target.Target, *Server) {
	t.Helper()
	made, err := target.New(target.Config{Disks: []target.Disk{{Blocks: 4096, BlockSize: 512}, {Blocks: 512, BlockSize: 4096}}, Tokens: target.DefaultTokenLimits()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := Serve("127.0.0.1:0", name, made, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return made, server
}

func dial(t testing.TB, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{TB: t, Conn: conn, in: bufio.NewReader(conn), seq: 7}
}

func (c *client) put(p *pdu) {
	c.Helper()
	p.put32(24, c.seq)
	if !p.immediate() && p.opcode() != opDataOut {
		c.seq++
	}
	if _, err := c.Write(p.encode()); err != nil {
		c.Fatal(err)
	}
}

func (c *client) get(opcode uint8) *pdu {
	c.Helper()
	p, err := readPDU(c.in)
	if err != nil {
		c.Fatal(err)
	}
	if p.opcode() != opcode {
		c.Fatalf("opcode %02xh instead of %02xh: % x", p.opcode(), opcode, p.head)
	}
	return p
}

// step is one request of a login.
func (c *client) step(flags uint8, keys ...pair) *pdu {
	c.Helper()
	p := &pdu{data: encodeText(keys)}
	p.head[0], p.head[1] = 0x40|opLogin, flags
	p.put32(24, c.seq)
	c.put(p)
	return c.get(opLoginResponse)
}

func (c *client) login(keys ...pair) {
	c.Helper()
	keys = append([]pair{{"InitiatorName", "iqn.test:me"}, {"AuthMethod", "None"}}, keys...)
	if a := c.step(final|stageSecurity<<2|stageOperational, keys...); a.head[36] != 0 || a.head[1] != final|stageOperational {
		c.Fatalf("% x %s", a.head, a.data)
	}
	a := c.step(final|stageOperational<<2|stageFull, pair{"HeaderDigest", "CRC32C,None"}, pair{"InitialR2T", "No"}, pair{"MaxBurstLength", "16776192"},
		pair{"FirstBurstLength", "4096"}, pair{"MaxRecvDataSegmentLength", "1024"}, pair{"X-new", "1"})
	want := "HeaderDigest=None\x00InitialR2T=Yes\x00MaxBurstLength=262144\x00FirstBurstLength=4096\x00MaxRecvDataSegmentLength=262144\x00X-new=NotUnderstood\x00"
	if a.head[36] != 0 || a.head[1] != final|stageOperational<<2|stageFull || string(a.data) != want {
		c.Fatalf("% x %q", a.head, a.data)
	}
}

// command sends a command; its data go with it as far as immediate bytes allow.
func (c *client) command(tag uint32, flags uint8, length int, cdb []byte, data []byte) {
	c.Helper()
	p := &pdu{data: data}
	p.head[0], p.head[1] = opCommand, final|flags
	p.put32(16, tag)
	p.put32(20, uint32(length))
	copy(p.head[32:], cdb)
	c.put(p)
}

const (
	reads  = 0x40
	writes = 0x20
)

func TestSession(t *testing.T) {
	made, server := serve(t)
	c := dial(t, server)
	c.login(pair{"TargetName", name}, pair{"SessionType", "Normal"})

	c.command(1, 0, 0, make([]byte, 6), nil)
	if a := c.get(opResponse); a.head[3] != byte(scsi.CheckCondition) || !bytes.Equal(a.data[:5], []byte{0, 18, 0x70, 0, 6}) {
		t.Errorf("first of all: % x, % x", a.head, a.data)
	}

	// A write in three parts: with the command, and in answer to two requests.
	block := make([]byte, 600<<10)
	for i := range block {
		block[i] = byte(i >> 9 * 7)
	}
	cdb := []byte{0x2A, 0, 0, 0, 0, 16, 0, 0x04, 0xB0, 0}
	c.command(2, writes, len(block), cdb, block[:4096])
	for at, n := 4096, maxBurst; at < len(block); at += n {
		r := c.get(opReady)
		n = min(n, len(block)-at)
		if r.tag() != 2 || r.u32(40) != uint32(at) || r.u32(44) != uint32(n) {
			t.Fatalf("asks for % x", r.head)
		}
		for i, part := range [][]byte{block[at : at+512], block[at+512 : at+n]} {
			d := &pdu{data: part}
			d.head[0] = opDataOut
			if i == 1 {
				d.head[1] = final
			}
			d.put32(16, 2)
			d.put32(36, uint32(i))
			copy(d.head[20:24], r.head[20:24])
			d.put32(40, uint32(at))
			c.put(d)
			at += len(part)
		}
		at -= n
	}
	if a := c.get(opResponse); a.tag() != 2 || a.head[3] != 0 || a.head[1] != final {
		t.Fatalf("% x", a.head)
	}
	got := make([]byte, len(block))
	if err := made.Bytes(0, got, 16*512); err != nil || !bytes.Equal(got, block) {
		t.Error("other bytes arrived", err)
	}

	// And back, in pieces of 1024 bytes, with more room than needed.
	c.command(3, reads, 8192, []byte{0x28, 0, 0, 0, 0, 16, 0, 0, 8, 0}, nil)
	got = got[:0]
	for len(got) < 4096 {
		d := c.get(opDataIn)
		if d.u32(40) != uint32(len(got)) || d.u32(36) != uint32(len(got)/1024) || (d.head[1] == final) != (len(got) == 3072) {
			t.Errorf("% x", d.head)
		}
		got = append(got, d.data...)
	}
	if a := c.get(opResponse); a.head[1] != final|0x02 || a.u32(44) != 4096 || !bytes.Equal(got, block[:4096]) {
		t.Errorf("% x", a.head)
	}

	ping := &pdu{data: []byte("hello")}
	ping.head[0], ping.head[1] = 0x40|opNOPOut, final
	ping.put32(16, 4)
	c.put(ping)
	if a := c.get(opNOPIn); string(a.data) != "hello" || a.tag() != 4 {
		t.Errorf("% x", a.head)
	}

	leave := &pdu{}
	leave.head[0], leave.head[1] = opLogout, final
	c.put(leave)
	c.get(opLogoutResponse)
}

// A command that nobody answers is taken back; the session goes on.
func TestAbortTask(t *testing.T) {
	made, server := serve(t)
	c := dial(t, server)
	c.login(pair{"TargetName", name})
	made.Inject(target.Fault{Command: "test-unit-ready", Times: 1, Drop: true})
	c.command(1, 0, 0, make([]byte, 6), nil)
	abort := &pdu{}
	abort.head[0], abort.head[1] = 0x40|opTask, final|abortTask
	abort.put32(16, 2)
	abort.put32(20, 1)
	for _, want := range []byte{taskComplete, taskMissing} {
		c.put(abort)
		if a := c.get(opTaskResponse); a.head[2] != want || a.tag() != 2 {
			t.Errorf("% x", a.head)
		}
	}
	c.command(3, 0, 0, make([]byte, 6), nil)
	if a := c.get(opResponse); a.tag() != 3 {
		t.Errorf("% x", a.head)
	}
}

func TestDiscovery(t *testing.T) {
	_, server := serve(t)
	c := dial(t, server)
	c.login(pair{"SessionType", "Discovery"})
	p := &pdu{data: encodeText([]pair{{"SendTargets", "All"}})}
	p.head[0], p.head[1] = opText, final
	p.put32(20, noTag)
	c.put(p)
	a := c.get(opTextResponse)
	if want := "TargetName=" + name + "\x00TargetAddress=" + server.Address().String() + ",1\x00"; string(a.data) != want {
		t.Errorf("%q", a.data)
	}
}

func TestNoSuchTarget(t *testing.T) {
	_, server := serve(t)
	c := dial(t, server)
	if a := c.step(final|stageOperational, pair{"InitiatorName", "iqn.test:me"}, pair{"TargetName", "iqn.other"}); binary.BigEndian.Uint16(a.head[36:]) != loginNoTarget {
		t.Errorf("% x", a.head)
	}
}

func TestText(t *testing.T) {
	pairs := []pair{{"a", "1"}, {"b", ""}, {"c", "x=y"}}
	if got, err := parseText(encodeText(pairs)); err != nil || !slices.Equal(got, pairs) {
		t.Error(got, err)
	}
	if _, err := parseText([]byte("no value\x00")); err == nil {
		t.Error("a key without a value")
	}
}

// FuzzConnection: whatever an initiator sends, the server neither hangs nor falls over.
func FuzzConnection(f *testing.F) {
	hello := &pdu{data: encodeText([]pair{{"InitiatorName", "iqn.test:me"}, {"TargetName", name}})}
	hello.head[0], hello.head[1] = 0x40|opLogin, final|stageOperational<<2|stageFull
	ask := &pdu{}
	ask.head[0], ask.head[1] = opCommand, final|reads
	ask.put32(20, 36)
	copy(ask.head[32:], []byte{0x12, 0, 0, 0, 36, 0})
	f.Add(append(hello.encode(), ask.encode()...))
	f.Add([]byte{})
	_, server := serve(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn, err := net.Dial("tcp", server.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(sent)
		conn.(*net.TCPConn).CloseWrite()
		answered := make([]byte, 4096)
		for {
			if _, err := conn.Read(answered); err != nil {
				break
			}
		}
		conn.Close()
	})
}
