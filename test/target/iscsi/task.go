package iscsi

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/target"
)

// task is a command that has not been answered.
type task struct {
	request *pdu
	command *target.Command
	want    int // bytes of data that come with it
	asked   int // up to where they were asked for
	burst   uint32
	dataSN  uint32 // of the next data of this burst
	cancel  context.CancelFunc
	ended   chan struct{} // nil before it runs
}

// maxWrite bounds the data of a command.
const maxWrite = 16 << 20

// unitOf reads a LUN in the simple form, or in that of a flat space. SAM-5, 4.7.
func unitOf(lun []byte) int {
	if lun[0]&0xC0 > 0x40 {
		return -1
	}
	return int(lun[0]&0x3F)<<8 | int(lun[1])
}

// command: RFC 7143, 11.3.
func (c *connection) command(ctx context.Context, p *pdu) error {
	reads, writes, length := p.head[1]&0x40 != 0, p.head[1]&0x20 != 0, int(p.u32(20))
	t := &task{request: p, command: &target.Command{Nexus: c.session.nexus(), Unit: unitOf(p.head[8:]), CDB: trim(p.head[32:48])}}
	switch {
	case c.session.discovery, reads && writes, writes && (length > maxWrite || len(p.data) > min(length, firstBurst)), !writes && len(p.data) > 0:
		return fmt.Errorf("%w: command % x for %d bytes", errProtocol, p.head[32:48], length)
	case writes:
		t.want, t.asked = length, len(p.data)
		t.command.Out = append(make([]byte, 0, length), p.data...)
	case reads:
		t.command.Room = min(length, maxWrite)
	}
	c.mu.Lock()
	if c.tasks[p.tag()] != nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: task tag %08xh is in use", errProtocol, p.tag())
	}
	c.tasks[p.tag()] = t
	c.mu.Unlock()
	return c.advance(ctx, t)
}

// trim leaves of a CDB what its opcode says that it has. SPC-4, table 19.
func trim(b []byte) []byte {
	lengths := [8]int{6, 10, 10, 16, 16, 12, 16, 16}
	return append([]byte(nil), b[:lengths[b[0]>>5]]...)
}

// advance asks for the next burst of data, or runs the task.
func (c *connection) advance(ctx context.Context, t *task) error {
	have := len(t.command.Out)
	if have == t.want {
		c.run(ctx, t)
		return nil
	}
	if have < t.asked {
		return nil // more of this burst is to come
	}
	n := min(t.want-have, maxBurst)
	t.asked = have + n
	// R2T: RFC 7143, 11.8.
	a := t.request.answer(opReady, final)
	copy(a.head[8:16], t.request.head[8:16])
	a.put32(20, t.request.tag())
	a.put32(36, t.burst)
	a.put32(40, uint32(have))
	a.put32(44, uint32(n))
	t.burst++
	t.dataSN = 0
	return c.send(a)
}

// dataOut: RFC 7143, 11.7.
func (c *connection) dataOut(ctx context.Context, p *pdu) error {
	c.mu.Lock()
	t := c.tasks[p.tag()]
	c.mu.Unlock()
	if t == nil {
		return nil // of a task that was taken back
	}
	have := len(t.command.Out)
	switch {
	case t.ended != nil:
		return fmt.Errorf("%w: data for a task that has all of it", errProtocol)
	case int(p.u32(40)) != have, have+len(p.data) > t.asked, p.u32(36) != t.dataSN, p.u32(20) != t.request.tag(),
		(p.head[1]&final != 0) != (have+len(p.data) == t.asked):
		return c.giveUp(t)
	}
	t.dataSN++
	t.command.Out = append(t.command.Out, p.data...)
	return c.advance(ctx, t)
}

// giveUp ends a task whose data does not come in order: what is missing cannot be asked for again without error recovery.
// RFC 7143, 7.7 and 11.4.7.2. Whatever still comes for it is ignored.
func (c *connection) giveUp(t *task) error {
	c.mu.Lock()
	delete(c.tasks, t.request.tag())
	c.mu.Unlock()
	return c.respond(t, target.Refusal(scsi.SenseCode{Key: scsi.AbortedCommand, ASC: 0x0C, ASCQ: 0x0D}))
}

// run executes the task beside the others.
func (c *connection) run(ctx context.Context, t *task) {
	ctx, t.cancel = context.WithCancel(ctx)
	t.ended = make(chan struct{})
	c.running.Go(func() {
		defer close(t.ended)
		reply := c.server.target.Execute(ctx, t.command)
		if reply.Lost {
			return // the initiator will take it back
		}
		c.mu.Lock()
		delete(c.tasks, t.request.tag())
		c.mu.Unlock()
		if err := c.respond(t, reply); err != nil {
			c.conn.Close()
		}
	})
}

// respond sends the data, in pieces that the initiator takes, and the status. RFC 7143, 11.7 and 11.4.
func (c *connection) respond(t *task, r target.Reply) error {
	var all []*pdu
	for at := 0; at < len(r.In); at += c.session.receive {
		end := min(at+c.session.receive, len(r.In))
		d := t.request.answer(opDataIn, 0)
		if end == len(r.In) || end%maxBurst == 0 {
			d.head[1] = final // of the data, or of a burst
		}
		copy(d.head[8:16], t.request.head[8:16])
		d.put32(20, noTag)
		d.put32(36, uint32(len(all))) // DataSN
		d.put32(40, uint32(at))
		d.data = r.In[at:end]
		all = append(all, d)
	}
	a := t.request.answer(opResponse, final)
	a.head[3] = byte(r.Status)
	a.put32(36, uint32(len(all))) // ExpDataSN
	wanted := r.Wanted
	if wanted == 0 {
		wanted = len(r.In) + len(t.command.Out)
	}
	switch left := int(t.request.u32(20)) - wanted + r.Residual; {
	case left > 0:
		a.head[1] |= 0x02 // underflow
		a.put32(44, uint32(left))
	case left < 0:
		a.head[1] |= 0x04 // overflow
		a.put32(44, uint32(-left))
	}
	if len(r.Sense) > 0 {
		a.data = append(binary.BigEndian.AppendUint16(nil, uint16(len(r.Sense))), r.Sense...)
	}
	return c.send(append(all, a)...)
}

// Task management functions and their answers. RFC 7143, 11.5.1 and 11.6.1.
const (
	abortTask    = 1
	abortTaskSet = 2
	unitReset    = 5
	warmReset    = 6
	coldReset    = 7

	taskComplete     = 0
	taskMissing      = 1
	taskNotSupported = 5
)

// manage takes tasks back. Each is through when the answer goes out.
func (c *connection) manage(p *pdu) error {
	unit := unitOf(p.head[8:])
	function := p.head[1] & 0x7F
	var fits func(tag uint32, t *task) bool
	switch function {
	case abortTask:
		fits = func(tag uint32, _ *task) bool { return tag == p.u32(20) }
	case abortTaskSet, unitReset:
		fits = func(_ uint32, t *task) bool { return t.command.Unit == unit }
	case warmReset, coldReset:
		fits = func(uint32, *task) bool { return true }
	}
	answer := p.answer(opTaskResponse, final)
	switch {
	case fits == nil:
		answer.head[2] = taskNotSupported
	case c.takeBack(fits) == 0 && function == abortTask:
		answer.head[2] = taskMissing
	case function == unitReset:
		c.server.target.Reset(unit)
	case function == warmReset, function == coldReset:
		for i := range c.server.Units() {
			c.server.target.Reset(i)
		}
	}
	return c.send(answer)
}

func (c *connection) takeBack(fits func(uint32, *task) bool) (n int) {
	c.mu.Lock()
	var back []*task
	for tag, t := range c.tasks {
		if fits(tag, t) {
			back = append(back, t)
			delete(c.tasks, tag)
		}
	}
	c.mu.Unlock()
	for _, t := range back {
		if t.ended != nil {
			t.cancel()
			<-t.ended
		}
	}
	return len(back)
}
