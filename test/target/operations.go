package target

import (
	"context"
	"encoding/binary"
)

// operationKey: list identifiers are those of an initiator at a unit. SPC-4, 5.17.4.2.
type operationKey struct {
	nexus string
	unit  int
	id    uint32
}

// Values of COPY OPERATION STATUS. SPC-4, table 247.
const (
	statusDone        = 0x01
	statusError       = 0x02
	statusPartial     = 0x03 // done; not all of the token was used
	statusResidual    = 0x04 // done as far as it got
	statusForeground  = 0x11
	statusBackground  = 0x12
	statusTerminated  = 0x60
	unitsBlocks       = 0xF1 // TRANSFER COUNT UNITS: logical blocks
	updateDelayMillis = 20
)

// operation is a token copy that was begun. Its results are there once done is closed.
type operation struct {
	action     byte
	background bool
	cancel     context.CancelFunc
	done       chan struct{}

	status byte
	count  uint64 // blocks
	reply  Reply
	token  *[tokenSize]byte
}

func (o *operation) running() bool {
	select {
	case <-o.done:
		return false
	default:
		return true
	}
}

// begin enters an operation. With immediate the command ends before the operation does.
func (t *Target) begin(ctx context.Context, c *Command, immediate bool, f Fault, work func(context.Context, *operation)) Reply {
	key := operationKey{c.Nexus, c.Unit, binary.BigEndian.Uint32(c.CDB[6:])}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	op := &operation{action: c.CDB[1] & 0x1F, background: immediate, cancel: cancel, done: make(chan struct{})}
	t.mu.Lock()
	if old := t.operations[key]; old != nil && old.running() {
		t.mu.Unlock()
		cancel()
		return refuse(operationRunning)
	}
	t.operations[key] = op
	t.mu.Unlock()
	go func() {
		defer cancel()
		defer close(op.done)
		work(inner, op)
	}()
	if immediate {
		return Reply{}
	}
	select {
	case <-op.done:
		return op.reply
	case <-ctx.Done():
		if !f.Ghost {
			cancel()
			<-op.done
		}
		return Reply{Lost: true}
	}
}

// fail ends an operation with an error.
func (o *operation) fail(r Reply) { o.status, o.reply = statusError, r }

// find looks an operation up by the list identifier at the place of all commands that ask for one.
func (t *Target) find(c *Command) (operationKey, *operation) {
	key := operationKey{c.Nexus, c.Unit, binary.BigEndian.Uint32(c.CDB[2:])}
	t.mu.Lock()
	defer t.mu.Unlock()
	return key, t.operations[key]
}

// abort is COPY OPERATION ABORT. SPC-4, 6.3.
func (t *Target) abort(_ *unit, c *Command) Reply {
	_, op := t.find(c)
	if op == nil || !op.running() {
		return refuse(invalidCDB)
	}
	op.cancel()
	<-op.done
	return Reply{}
}

// receiveStatus is RECEIVE COPY STATUS(LID4). SPC-4, 6.24.
func (t *Target) receiveStatus(_ *unit, c *Command) Reply {
	_, op := t.find(c)
	if op == nil {
		return refuse(invalidCDB)
	}
	return give(c, finish(op.report()), binary.BigEndian.Uint32(c.CDB[10:]))
}

// receiveToken is RECEIVE ROD TOKEN INFORMATION. SPC-4, 6.26. An operation that has ended is forgotten once it was
// reported.
func (t *Target) receiveToken(_ *unit, c *Command) Reply {
	key, op := t.find(c)
	if op == nil {
		return refuse(invalidCDB)
	}
	b := op.report()
	if op.running() || op.token == nil {
		b = append(b, 0, 0, 0, 0)
	} else {
		b = binary.BigEndian.AppendUint32(b, 2+tokenSize)
		b = append(b, 0, 0)
		b = append(b, op.token[:]...)
	}
	if !op.running() {
		t.mu.Lock()
		if t.operations[key] == op {
			delete(t.operations, key)
		}
		t.mu.Unlock()
	}
	return give(c, finish(b), binary.BigEndian.Uint32(c.CDB[10:]))
}

// report is what both commands answer with. SPC-4, table 246.
func (o *operation) report() []byte {
	b := make([]byte, 32)
	b[4] = o.action
	b[15] = unitsBlocks
	if o.running() {
		b[5] = statusForeground
		if o.background {
			b[5] = statusBackground
		}
		binary.BigEndian.PutUint32(b[8:], updateDelayMillis)
		return b
	}
	b[5] = o.status
	binary.BigEndian.PutUint32(b[8:], 0xFFFFFFFE)
	b[12], b[13], b[14] = byte(o.reply.Status), byte(len(o.reply.Sense)), byte(len(o.reply.Sense))
	binary.BigEndian.PutUint64(b[16:], o.count)
	return append(b, o.reply.Sense...)
}

// finish sets AVAILABLE DATA.
func finish(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
