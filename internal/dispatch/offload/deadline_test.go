package offload

import (
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
)

// until is a hold that ends at a moment.
type until struct {
	hold.Held
	boottime.Instant
}

func (u *until) Deadline() boottime.Instant { return u.Instant }

// TestNotAfter: the last moment to begin a command is a second before the hold ends, as it is then; what no hold ends has
// none. What belongs to no batch is not begun at all.
func TestNotAfter(t *testing.T) {
	end := boottime.Now().Add(time.Hour)
	held := &until{Instant: end}
	limit := notAfter(held)
	st := &pairState{}
	if got := st.notAfter(); got != 0 {
		t.Errorf("without a batch: %d", got)
	}
	st.allowed.Store(window.NewBatch([]plan.Step{{Len: 4096}}, limit))
	for _, tt := range []struct{ ends, want boottime.Instant }{
		{end, end.Add(-time.Second)},
		{end.Add(time.Minute), end.Add(59 * time.Second)},
		{boottime.Forever, boottime.Forever},
	} {
		held.Instant = tt.ends
		if got, ofPair := limit(), st.notAfter(); got != tt.want || ofPair != tt.want {
			t.Errorf("ends at %d: %d, %d, want %d", tt.ends, got, ofPair, tt.want)
		}
	}
}

// TestUnbegun: what was not begun is planned again where the window was cut short, or where its hold was about to end and
// nothing but a proof tells what has been copied. In zones the host goes on where the disk has ended.
func TestUnbegun(t *testing.T) {
	for _, tt := range []struct {
		action                   copydomain.Action
		cut, proven, zones, want bool
	}{
		{action: copydomain.ActionCanceled, cut: true, want: true},
		{action: copydomain.ActionCanceled, proven: true},
		{action: copydomain.ActionExpired, proven: true, want: true},
		{action: copydomain.ActionExpired, cut: true},
		{action: copydomain.ActionExpired, proven: true, zones: true},
		{action: copydomain.ActionSurface, cut: true, proven: true},
	} {
		o := &Offloader{opts: Options{InOrder: tt.zones}}
		if got := o.unbegun(tt.action, tt.cut, tt.proven); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}
