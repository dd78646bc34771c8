package iscsi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/dmcopy/dmcopy/test/target"
)

// Server makes a target reachable.
type Server struct {
	name     string
	target   *target.Target
	log      *slog.Logger
	listener net.Listener
	handle   uint8 // the target's part of session identifiers, low byte

	mu     sync.Mutex
	open   map[*connection]struct{}
	closed bool
	wait   sync.WaitGroup
}

// Serve lets initiators log in to t, which is called name ("iqn.2026-01.org.example:disks"), at an address such as
// "127.0.0.1:0". log may be nil.
func Serve(address, name string, t *target.Target, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{name: name, target: t, log: log, listener: listener, handle: 1, open: make(map[*connection]struct{})}
	s.wait.Go(s.accept)
	return s, nil
}

// Address is where initiators find the target.
func (s *Server) Address() *net.TCPAddr { return s.listener.Addr().(*net.TCPAddr) }

// Name is the name of the target.
func (s *Server) Name() string { return s.name }

// Units is the number of logical units.
func (s *Server) Units() int { return s.target.Units() }

// Close ends all sessions.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.listener.Close()
	s.Hangup()
	s.wait.Wait()
	return err
}

// Hangup breaks all connections. Initiators log in again.
func (s *Server) Hangup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.conn.Close()
	}
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		c := &connection{server: s, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), session: session{receive: 8 << 10}, tasks: make(map[uint32]*task),
			early: make(map[uint32]*pdu)}
		if !s.enter(c) {
			conn.Close()
			return
		}
		s.wait.Go(func() {
			err := c.serve()
			s.leave(c)
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.log.Warn("connection ends", "initiator", c.session.initiator, "error", err)
			}
		})
	}
}

func (s *Server) enter(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[c] = struct{}{}
	}
	return !s.closed
}

func (s *Server) leave(c *connection) {
	c.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// connection is one of an initiator, and its session.
type connection struct {
	server  *Server
	conn    net.Conn
	in      *bufio.Reader
	session session

	// The rest of the window for commands. Only the reader touches it, under mu.
	mu       sync.Mutex
	expected uint32 // ExpCmdSN
	early    map[uint32]*pdu
	status   uint32 // StatSN of the next answer
	tasks    map[uint32]*task
	running  sync.WaitGroup
}

// window is how many commands may be under way.
const window = 64

// serve carries out what comes in until the initiator leaves.
func (c *connection) serve() error {
	if err := c.login(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		c.running.Wait()
		if !c.session.discovery {
			c.server.target.Lose(c.session.nexus())
		}
	}()
	for {
		p, err := readPDU(c.in)
		if err != nil {
			return err
		}
		for _, p := range c.inOrder(p) {
			if p.opcode() == opLogout {
				return c.send(p.answer(opLogoutResponse, final))
			}
			if err := c.handle(ctx, p); err != nil {
				return err
			}
		}
	}
}

// inOrder returns what can be carried out now that p has come: commands are carried out in the order of their numbers, and
// those outside of the window are ignored without a word. RFC 7143, 4.2.2.1.
func (c *connection) inOrder(p *pdu) []*pdu {
	if p.immediate() || p.opcode() == opDataOut {
		return []*pdu{p}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.u32(24)-c.expected >= window { // serial numbers: those that were used are far ahead
		return nil
	}
	c.early[p.u32(24)] = p
	var all []*pdu
	for c.early[c.expected] != nil {
		all = append(all, c.early[c.expected])
		delete(c.early, c.expected)
		c.expected++
	}
	return all
}

func (c *connection) handle(ctx context.Context, p *pdu) error {
	switch p.opcode() {
	case opNOPOut:
		return c.ping(p)
	case opText:
		pairs, err := parseText(p.data)
		if err != nil {
			return err
		}
		a := p.answer(opTextResponse, final)
		a.put32(20, noTag)
		a.data = encodeText(c.discover(pairs))
		return c.send(a)
	case opCommand:
		return c.command(ctx, p)
	case opDataOut:
		return c.dataOut(ctx, p)
	case opTask:
		return c.manage(p)
	}
	return fmt.Errorf("%w: opcode %02xh", errProtocol, p.opcode())
}

// ping: RFC 7143, 11.18.
func (c *connection) ping(p *pdu) error {
	if p.tag() == noTag {
		return nil // an answer to a question that was not asked
	}
	a := p.answer(opNOPIn, final)
	copy(a.head[8:16], p.head[8:16])
	a.put32(20, noTag)
	a.data = p.data
	return c.send(a)
}

// send sends answers with a status, as one.
func (c *connection) send(all ...*pdu) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range all {
		// Data and R2T have no status, R2T tells the next one.
		p.put32(24, c.status)
		if op := p.opcode(); op != opDataIn && op != opReady {
			c.status++
		}
		if p.opcode() == opDataIn {
			p.put32(24, 0)
		}
		p.put32(28, c.expected)
		p.put32(32, c.expected+window-1)
		if _, err := c.conn.Write(p.encode()); err != nil {
			return err
		}
	}
	return nil
}
