// Package background carries out what may never come back, such as calls that the
// kernel keeps, so that whoever waits can stop waiting.
package background

import "context"

// Call is something under way.
type Call[T any] struct {
	ended  chan struct{}
	result T
	err    error
}

// Start begins it.
func Start[T any](do func() (T, error)) *Call[T] {
	c := &Call[T]{ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.result, c.err = do()
	}()
	return c
}

// Ended is closed when it is over.
func (c *Call[T]) Ended() <-chan struct{} { return c.ended }

// EndsBefore waits until it is over, which is true, or until ctx is.
func (c *Call[T]) EndsBefore(ctx context.Context) bool {
	select {
	case <-c.ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// Result waits for the end.
func (c *Call[T]) Result() (T, error) {
	<-c.ended
	return c.result, c.err
}
