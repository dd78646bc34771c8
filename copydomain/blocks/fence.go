package blocks

import "sync"

// Fence stands around the destination of a command of unknown fate: the kernel has
// not returned it in time, or has returned it without an answer from the device.
// The device may still be executing it, so the blocks must be neither released nor
// written by anybody else.
type Fence struct {
	Pieces []Piece
	Reason string
	Err    error

	spans []Span
	ended <-chan struct{}
}

// Ended is closed when the device is known to be through with the command after
// all: it came back late, with a completion. The pieces then have to be copied
// again, whatever the completion said. For many commands that never happens, so do
// not wait without a deadline.
func (f *Fence) Ended() <-chan struct{} { return f.ended }

func (f *Fence) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// abandoned keeps the room of commands of unknown fate for the life of the process.
// A device that is still executing such a command may still read its list of
// blocks; in memory that has been used for something else it would find others.
var abandoned struct {
	sync.Mutex
	slots []any
}

func abandon(slot any) {
	abandoned.Lock()
	defer abandoned.Unlock()
	abandoned.slots = append(abandoned.slots, slot)
}
