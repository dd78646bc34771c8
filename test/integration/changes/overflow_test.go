package changes

import (
	"strings"
	"sync"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

// overflow writes to the origin until the snapshot has no room any more.
func (s *snapshotted) overflow(t *testing.T, w *writer) {
	for range 10_000 {
		w.once()
		status, err := vm.TryRun("dmsetup", "status", s.name)
		if err != nil {
			t.Error(err)
			return
		}
		if strings.Contains(status, "Invalid") {
			return
		}
	}
	t.Error("the snapshot does not overflow")
}

// kernelName is the path by which the kernel knows a dm device: "/dev/dm-3".
func kernelName(t *testing.T, name string) string {
	return strings.TrimSpace(vm.Run(t, "dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", name))
}

// TestSnapshotOverflows fills the store of exceptions in the middle of the copy,
// between two windows and while commands are in flight.
func TestSnapshotOverflows(t *testing.T) {
	const store = mib
	for _, when := range []string{"before the first window", "between windows", "in flight"} {
		t.Run(when, func(t *testing.T) {
			s := snapshotOf(newDisk(t), 16<<10, store, "P", 20)
			w := newWriter(t, s.origin, copySize, s.chunk, 20)
			vm.Slowly(t, alpha, pace)
			var once sync.Once
			var flight sync.WaitGroup
			ended := start(t, s.snap, s.dst, dispatch.Options{Window: window, Progress: func(p account.Progress) {
				switch {
				case p.Phase != account.PhaseCopying:
				case when == "in flight":
					once.Do(func() { flight.Go(func() { s.overflow(t, w) }) })
				case when == "before the first window" || p.Offloaded > 0:
					once.Do(func() { s.overflow(t, w) })
				}
			}})
			r := <-ended
			flight.Wait()
			t.Logf("%v; %+v", r.err, r.report)
			if r.err == nil {
				holds(t, s.dst, s.seed, copySize)
				return
			}
			if r.report == nil || r.report.Result == account.OutcomeOK {
				t.Errorf("report of a failed copy: %+v", r.report)
			}
			if text := r.err.Error(); !strings.Contains(text, s.name) && !strings.Contains(text, kernelName(t, s.name)) {
				t.Errorf("the error does not name %s: %v", s.name, r.err)
			}
		})
	}
}
