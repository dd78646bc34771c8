package nvme

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// TestFlushThatHangs: a flush that does not come back is a failure, after a while, and
// at once if nobody wants it any more.
func TestFlushThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewMemoryLoopback(make([]byte, 1<<20), testBlock, Limits{8, 16, 4})
		d, err := Probe(t.Context(), l, 1)
		if err != nil {
			t.Fatal(err)
		}
		stuck := make(chan struct{})
		l.SetFault(func(int, *Command) Fault { return Fault{Hold: stuck} })
		began := time.Now()
		if err := d.Flush(t.Context(), 20*time.Second); !errors.Is(err, blocks.ErrTimeout) || time.Since(began) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Flush(ctx, 20*time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(stuck)
		synctest.Wait()
		if err := d.Flush(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
}
