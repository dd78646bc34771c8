package dispatch_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// copyReal copies in small windows with the kernel of this machine, and does something after
// the first one.
func (d onDisk) copyReal(t *testing.T, live bool, meanwhile func(), ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	return d.copyLogged(t, live, nil, meanwhile, ranges...)
}

func (d onDisk) copyLogged(t *testing.T, live bool, log *slog.Logger, meanwhile func(), ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	src, err := ends.OpenSource(t.Context(), sysblock.FS(""), d.src, ends.OpenOptions{LiveSource: live})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := ends.OpenDestination(t.Context(), sysblock.FS(""), d.dst, ends.OpenOptions{Beside: src})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	var once sync.Once
	opts := dispatch.Options{LiveSource: live, Log: log, Window: 64 * kib, Offload: plan.OffloadNever, Progress: func(p account.Progress) {
		if p.Phase == account.PhaseCopying && p.Done > 0 {
			once.Do(meanwhile)
		}
	}}
	return dispatch.New(kernel.New(layout.NewReader(layout.Options{}), nil)).Copy(t.Context(), dispatch.Job{Src: src, Dst: dst, Ranges: ranges}, opts)
}

// written writes to a file past everything that is stored in it.
func written(path string, off int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("x"), off)
	return errors.Join(err, f.Close())
}

// TestFileBelowDestination: what holds for a file that is the destination holds for one that
// it is stored in.
func TestFileBelowDestination(t *testing.T) {
	const size = mib
	for _, c := range []struct {
		name string
		do   func(path string) error
		want error
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"other times", func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) }, nil},
		{"another name as well", func(path string) error { return os.Link(path, path+".link") }, nil},
		{"made longer", func(path string) error { return os.Truncate(path, 2*size) }, nil},
		{"removed", os.Remove, blockio.ErrAway},
		{"renamed", func(path string) error { return os.Rename(path, path+".old") }, blockio.ErrAway},
		{"replaced", func(path string) error {
			return errors.Join(os.WriteFile(path+".new", make([]byte, size), 0o600), os.Rename(path+".new", path))
		}, blockio.ErrAway},
		{"emptied", func(path string) error { return os.Truncate(path, 0) }, blockio.ErrResized},
		{"cut off a little", func(path string) error { return os.Truncate(path, size-1) }, blockio.ErrResized},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newOnDisk(t, size)
			file := d.dst
			d.dst = looptest.Attach(t, file, 512)
			var failed error
			rep, err := d.copyReal(t, false, func() { failed = c.do(file) })
			if failed != nil {
				t.Fatal(failed)
			}
			if !errors.Is(err, c.want) || (err == nil) != (rep.Result == account.OutcomeOK) {
				t.Errorf("%v, want %v; %+v", err, c.want, rep)
			}
			if err != nil && !(strings.Contains(err.Error(), d.dst) && strings.Contains(err.Error(), file)) {
				t.Errorf("%v: of what?", err)
			}
		})
	}
}

// TestFileWithoutNameBelow: what has been removed before the copy is no change.
func TestFileWithoutNameBelow(t *testing.T) {
	d := newOnDisk(t, mib)
	file := d.dst
	d.dst = looptest.Attach(t, file, 512)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if rep, err := d.copyReal(t, false, func() {}); err != nil || rep.Result != account.OutcomeOK {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestFileBelowSource: what is stored in a file that others write to is no copy of any moment,
// and accepted only as such. What leaves the contents alone is no reason to fail, whatever times
// the file has then.
func TestFileBelowSource(t *testing.T) {
	const size = mib
	for _, c := range []struct {
		name           string
		do             func(path, loop string) error
		wrong, changed bool
	}{
		{"nothing", func(string, string) error { return nil }, false, false},
		{"read", func(path, _ string) error { _, err := os.ReadFile(path); return err }, false, false},
		{"read by the device", func(_, loop string) error { _, err := os.ReadFile(loop); return err }, false, false},
		{"another mode", func(path, _ string) error { return os.Chmod(path, 0o400) }, false, false},
		{"removed", func(path, _ string) error { return os.Remove(path) }, false, false},
		{"another time of modification", func(path, _ string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) }, false, true},
		{"made longer", func(path, _ string) error { return os.Truncate(path, 2*size) }, false, true},
		{"written to", func(path, _ string) error { return written(path, 0) }, true, true},
		{"written to by the device", func(_, loop string) error { return written(loop, 0) }, true, true},
		{"written to, with the old time", func(path, _ string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(written(path, 0), os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, live := range []bool{false, true} {
				d := newOnDisk(t, size)
				file := d.src
				d.src = looptest.Attach(t, file, 512)
				var failed error
				rep, err := d.copyReal(t, live, func() { failed = c.do(file, d.src) })
				if failed != nil {
					t.Fatal(failed)
				}
				if errors.Is(err, failure.ErrSourceChanged) != (c.wrong && !live) || (err == nil) != (rep.Result == account.OutcomeOK) {
					t.Errorf("live %v: %v, %+v", live, err, rep)
				}
				if err != nil && !(strings.Contains(err.Error(), d.src) && strings.Contains(err.Error(), file)) {
					t.Errorf("%v: of what?", err)
				}
				if rep.SourceChanged != (c.changed && live) {
					t.Errorf("live %v: it says %+v", live, rep)
				}
			}
		})
	}
}

// TestOneFileBelowBoth: a copy that writes to the file that its source is stored in is none of those
// who write to the source.
func TestOneFileBelowBoth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, append(bytes.Repeat([]byte("data"), mib/4), make([]byte, mib)...), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := looptest.Attach(t, file, 512)
	d := onDisk{src: looptest.Partition(t, disk, 1, 0, mib), dst: looptest.Partition(t, disk, 2, mib, mib)}
	rep, err := d.copyReal(t, false, func() {})
	if err != nil || rep.Result != account.OutcomeOK {
		t.Errorf("%v, %+v", err, rep)
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(after[:mib], after[mib:]) {
		t.Errorf("the copy differs, %v", err)
	}
}

// TestFileBelowIsOpen: who has a file open for writing that an end is stored in is told of.
func TestFileBelowIsOpen(t *testing.T) {
	d := newOnDisk(t, mib)
	file := d.dst
	d.dst = looptest.Attach(t, file, 512)
	other := exec.Command("sh", "-c", "exec 3<>\"$1\"; echo; read -r _", "sh", file)
	until, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	_, err = d.copyLogged(t, false, slog.New(slog.NewTextHandler(&said, nil)), func() {
		if err := other.Start(); err != nil {
			t.Error(err)
		}
		if _, err := ready.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
	if err != nil || !strings.Contains(said.String(), "somebody has opened the file that the destination is stored in for writing") {
		t.Errorf("%v: %s", err, said.String())
	}
	if err := errors.Join(until.Close(), drained(ready)); err != nil {
		t.Error(err)
	}
	_ = other.Wait() // read(1) fails at the end of its input
}

func drained(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
