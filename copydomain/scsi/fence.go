package scsi

import "sync"

// Fence stands around the destination of a command of unknown fate: the kernel has
// not returned it in time, or has returned it without an answer from the device.
// The copy may still be going on, so the blocks must be neither released nor
// written by anybody else.
type Fence struct {
	Pieces []Piece
	Reason string
	Err    error

	spans  []span
	flight *flight
}

// Ended is closed when the device is known to be through with the command after
// all: it came back late, with a completion. The pieces then have to be copied
// again, whatever the completion said. For many commands that never happens, so do
// not wait without a deadline.
func (f *Fence) Ended() <-chan struct{} { return f.flight.ended }

func (f *Fence) over() bool {
	select {
	case <-f.flight.ended:
		return true
	default:
		return false
	}
}

// fence gives the command up and stops the batch: a target that has lost one
// command gets no more for now. The rest has not been issued and is free. The
// list identifier is given up as well.
func (b *batch) fence(f *flight, o Outcome) {
	fence := &Fence{
		Pieces: f.pieces(),
		Reason: o.Reason,
		Err:    o.Err,
		flight: f,
	}
	fence.spans = spansOf(fence.Pieces, Piece.destination)
	b.result.Fenced = append(b.result.Fenced, fence)
	b.dst.ledger.fence(fence)

	abandon(f.slot)
	b.slots <- b.newSlot()

	rest := o
	rest.Action = ActionBackOff
	b.stop(rest)
}

// abandoned keeps the buffers of commands of unknown fate for the life of the
// process: in memory that has been used for something else an adapter that still
// reads a parameter list would find other blocks.
var abandoned struct {
	sync.Mutex
	slots []*slot
}

func abandon(s *slot) {
	abandoned.Lock()
	defer abandoned.Unlock()
	abandoned.slots = append(abandoned.slots, s)
}
