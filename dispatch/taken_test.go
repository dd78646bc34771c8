package dispatch_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// TestTaken: a copy is none whose destination is the storage of a loop device by the end of
// it, with the kernel of this machine.
func TestTaken(t *testing.T) {
	dir := t.TempDir()
	paths := [2]string{filepath.Join(dir, "src"), filepath.Join(dir, "dst")}
	for _, path := range paths {
		if err := os.WriteFile(path, make([]byte, mib), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := ends.OpenSource(t.Context(), sysblock.FS(""), paths[0], ends.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dst, err := ends.OpenDestination(t.Context(), sysblock.FS(""), paths[1], ends.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	attached := false
	attach := func(p account.Progress) {
		if p.Phase == account.PhaseFlushing && !attached {
			attached = true
			looptest.Attach(t, paths[1], 512)
		}
	}
	job := dispatch.Job{Src: src, Dst: dst, Ranges: []byterange.Range{{Len: mib}}}
	report, err := dispatch.New(kernel.New(layout.NewReader(layout.Options{}), nil)).Copy(t.Context(), job, dispatch.Options{Progress: attach})
	if !errors.Is(err, failure.ErrTaken) || report == nil || report.Result == account.OutcomeOK {
		t.Errorf("%+v, %v", report, err)
	}
	if err := errors.Join(src.Close(), dst.Close()); err != nil {
		t.Error(err)
	}
}
