package blocks

import (
	"errors"
	"sync"
)

// Fate executes a command of a transport in memory, once hold is closed if it is not nil. Instead of the completion of a
// command that is lost there is an error; it is executed nevertheless, in the background if it is held, or not at all if
// the error is an [ErrNotIssued].
func Fate[C any](execute func() C, hold <-chan struct{}, lost error, background *sync.WaitGroup) (completion C, err error) {
	switch {
	case errors.Is(lost, ErrNotIssued):
	case lost != nil && hold != nil:
		background.Go(func() {
			<-hold
			execute() // reads data late, as a device would
		})
	case lost != nil:
		execute()
	default:
		if hold != nil {
			<-hold
		}
		completion = execute()
	}
	return completion, lost
}
