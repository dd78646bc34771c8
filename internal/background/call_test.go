package background

import (
	"context"
	"errors"
	"testing"
)

// TestCall: who waits gets the result, or stops waiting and gets it later.
func TestCall(t *testing.T) {
	release, failed := make(chan struct{}), errors.New("failed")
	c := Start(func() (int, error) {
		<-release
		return 7, failed
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.EndsBefore(ctx) {
		t.Error("it has ended")
	}
	close(release)
	if !c.EndsBefore(t.Context()) {
		t.Error("it has not ended")
	}
	<-c.Ended()
	if got, err := c.Result(); got != 7 || !errors.Is(err, failed) {
		t.Errorf("%d, %v", got, err)
	}
}
