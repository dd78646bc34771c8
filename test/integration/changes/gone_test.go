package changes

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/track"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestUnplugged: the disk that copies is unplugged in the middle of it. It is said to be
// gone, and what was copied before is counted.
func TestUnplugged(t *testing.T) {
	const size, enough = 32 * mib, 4 * mib
	vm.NoUdev(t)
	disk := vm.Device(t, doomed)
	src, dst := vm.Linear(t, "src", disk, 0, size), vm.Linear(t, "dst", disk, size, size)
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	begun := make(chan struct{})
	var once sync.Once
	ended := start(t, src, dst, dispatch.Options{
		Window: mib, Pacing: dispatch.Pacing{Rate: func() int64 { return mib }},
		Progress: func(p account.Progress) {
			if p.Done >= enough {
				once.Do(func() { close(begun) })
			}
		},
	})
	select {
	case <-begun:
	case r := <-ended:
		t.Fatalf("it ended too early: %v, %+v", r.err, r.report)
	}
	if err := vm.Unplug(doomed.Serial + "-c0"); err != nil {
		t.Fatal(err)
	}
	r := <-ended
	t.Logf("%v, %+v", r.err, r.report)
	if !errors.Is(r.err, track.ErrDiskGone) || !strings.Contains(r.err.Error(), filepath.Base(disk)) || strings.Contains(r.err.Error(), "what else lives") {
		t.Errorf("%v", r.err)
	}
	if r.report.Result != account.OutcomeFailed || r.report.Offloaded < enough || r.report.Offloaded >= size {
		t.Errorf("%+v", r.report)
	}
}
