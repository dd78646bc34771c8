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

// TestSourceTaken: so is a copy whose source others may write to by the end of it.
func TestSourceTaken(t *testing.T) {
	for _, live := range []bool{false, true} {
		d := newOnDisk(t, mib)
		rep, err := d.copyReal(t, live, func() { looptest.Attach(t, d.src, 512) })
		if errors.Is(err, failure.ErrSourceChanged) == live || (err == nil) != (rep.Result == account.OutcomeOK) {
			t.Errorf("live %v: %+v, %v", live, rep, err)
		}
	}
}

// TestSourceGrows: what a source has gained while all of it was copied is missing in the copy, and told.
func TestSourceGrows(t *testing.T) {
	for _, c := range []struct {
		name  string
		len   int64
		grown int64
	}{{"all of it", mib, mib}, {"a part of it", mib - 4*kib, 0}} {
		t.Run(c.name, func(t *testing.T) {
			d := newOnDisk(t, 2*mib)
			d.src = looptest.Attach(t, d.src, 512)
			looptest.Move(t, d.src, 0, mib)
			rep, err := d.copyReal(t, false, func() { looptest.Move(t, d.src, 0, 2*mib) }, byterange.Range{Len: c.len})
			if err != nil || rep.SourceGrown != c.grown {
				t.Errorf("%+v, %v", rep, err)
			}
		})
	}
}
