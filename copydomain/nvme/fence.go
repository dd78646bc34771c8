package nvme

import "sync"

// Fence stands around the destination of a command of unknown fate: the kernel
// has not returned it in time, or has returned it without an answer from the
// device. The device may still be executing it, so the blocks must be neither
// released nor written by anybody else.
type Fence struct {
	Pieces []Piece
	Reason string
	Err    error

	on     *Device
	spans  []span
	flight *flight
}

// Ended is closed when the device is known to be through with the command after
// all: it came back late, with a completion. The pieces then have to be copied
// again, whatever the completion said. For many commands that never happens, so
// do not wait without a deadline.
func (f *Fence) Ended() <-chan struct{} { return f.flight.ended }

func (f *Fence) over() bool {
	select {
	case <-f.flight.ended:
		return true
	default:
		return false
	}
}

// fence gives the command up and stops the batch: a controller that has lost one
// command gets no more for now. The rest has not been issued and is free.
func (b *batch) fence(f *flight, lost []Piece, o Outcome) {
	fence := &Fence{
		Pieces: lost,
		Reason: o.Reason,
		Err:    o.Err,
		on:     b.dev,
		spans:  spansOf(lost, Piece.destination),
		flight: f,
	}
	b.result.Fenced = append(b.result.Fenced, fence)
	b.ledger.fence(fence)

	abandon(f.slot)
	b.slots <- new(slot)

	rest := o
	rest.Action = ActionBackOff
	b.stop(rest)
}

// abandoned keeps the buffers of commands of unknown fate for the life of the
// process. A device that is still executing such a command may still read its
// list of source ranges; in memory that has been used for something else it
// would find other LBAs.
var abandoned struct {
	sync.Mutex
	slots []*slot
}

func abandon(s *slot) {
	abandoned.Lock()
	defer abandoned.Unlock()
	abandoned.slots = append(abandoned.slots, s)
}
