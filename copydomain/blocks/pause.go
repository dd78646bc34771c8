package blocks

import (
	"context"
	"time"
)

// Pause waits before something is tried again; an error says that ctx has ended
// meanwhile.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
