package record

import (
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/window"
)

// TestMeasure: windows take about as long as there is between two records, or a few
// seconds, within limits, and are whole units.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		bytes       int64
		took, every time.Duration
		want        int64
	}{
		{64 << 20, time.Second, 5 * time.Second, journalWindow},
		{64 << 20, 4 * time.Second, 5 * time.Second, 80 << 20},
		{64 << 20, 10 * time.Second, 5 * time.Second, 32 << 20},
		{64 << 20, 1001 * time.Millisecond, time.Second, 1022 * window.Unit},
		{64 << 10, time.Hour, 5 * time.Second, window.MinSize},
		{1 << 50, 1, time.Hour, journalWindow},
		{0, time.Second, time.Second, window.InitialSize},
		{64 << 20, 0, time.Second, window.InitialSize},
		{64 << 20, 10 * time.Second, 0, 32 << 20},
	} {
		l := Record{most: window.InitialSize, every: c.every}
		l.Measure(c.bytes, c.took)
		if l.most != c.want || l.most%window.Unit != 0 {
			t.Errorf("%d bytes in %v, every %v: %d, want %d", c.bytes, c.took, c.every, l.most, c.want)
		}
	}
}
