package dispatch

import (
	"testing"
	"time"
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
		{64 << 20, 1001 * time.Millisecond, time.Second, 1022 * windowUnit},
		{64 << 10, time.Hour, 5 * time.Second, minWindow},
		{1 << 50, 1, time.Hour, journalWindow},
		{0, time.Second, time.Second, firstWindow},
		{64 << 20, 0, time.Second, firstWindow},
		{64 << 20, 10 * time.Second, 0, 32 << 20},
	} {
		l := ledger{most: firstWindow}
		l.measure(c.bytes, c.took, c.every)
		if l.most != c.want || l.most%windowUnit != 0 {
			t.Errorf("%d bytes in %v, every %v: %d, want %d", c.bytes, c.took, c.every, l.most, c.want)
		}
	}
}
