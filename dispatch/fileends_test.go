package dispatch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// onDisk are two files of this machine.
type onDisk struct {
	src, dst string
	open     func(dst *ends.Endpoint) // called for the opened destination, unless nil
}

func newOnDisk(t *testing.T, size int) onDisk {
	t.Helper()
	d := onDisk{src: filepath.Join(t.TempDir(), "src"), dst: filepath.Join(t.TempDir(), "dst")}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i>>12) ^ byte(i>>4) ^ byte(i)
	}
	// Clocks of file systems are coarse.
	past := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(d.src, data, 0o600), os.WriteFile(d.dst, make([]byte, size), 0o600), os.Chtimes(d.src, past, past)); err != nil {
		t.Fatal(err)
	}
	return d
}

// copy copies in small windows, and does something after the first one.
func (d onDisk) copy(t *testing.T, opts dispatch.Options, meanwhile func()) (*account.Report, error) {
	t.Helper()
	src, err := ends.OpenSource(t.Context(), "", d.src, ends.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := ends.OpenDestination(t.Context(), "", d.dst, ends.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if d.open != nil {
		d.open(&dst)
	}
	var once sync.Once
	opts.Window, opts.Offload = 64*kib, plan.OffloadNever
	opts.Progress = func(p account.Progress) {
		if p.Phase == account.PhaseCopying && p.Done > 0 {
			once.Do(meanwhile)
		}
	}
	return dispatch.New(fakestack.New(1)).Copy(context.Background(), dispatch.Job{Src: src, Dst: dst}, opts)
}

// TestDestinationFileIsTaken: a copy that does not lie under its name in the end, or
// that was cut off meanwhile, is none.
func TestDestinationFileIsTaken(t *testing.T) {
	const size = mib + 100
	for _, c := range []struct {
		name string
		do   func(path string) error
		want error
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"other times", func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) }, nil},
		{"another name as well", func(path string) error { return os.Link(path, path+".link") }, nil},
		{"removed", os.Remove, blockio.ErrAway},
		{"renamed", func(path string) error { return os.Rename(path, path+".old") }, blockio.ErrAway},
		{"replaced", func(path string) error {
			return errors.Join(os.WriteFile(path+".new", make([]byte, size), 0o600), os.Rename(path+".new", path))
		}, blockio.ErrAway},
		{"removed with its directory", func(path string) error { return os.RemoveAll(filepath.Dir(path)) }, blockio.ErrAway},
		{"emptied", func(path string) error { return os.Truncate(path, 0) }, blockio.ErrResized},
		{"cut off a little", func(path string) error { return os.Truncate(path, size-1) }, blockio.ErrResized},
		{"made longer", func(path string) error { return os.Truncate(path, size+1) }, blockio.ErrResized},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newOnDisk(t, size)
			var failed error
			rep, err := d.copy(t, dispatch.Options{}, func() { failed = c.do(d.dst) })
			if failed != nil {
				t.Fatal(failed)
			}
			if !errors.Is(err, c.want) || (err == nil) != (rep.Result == account.OutcomeOK) {
				t.Errorf("%v, want %v; %+v", err, c.want, rep)
			}
			if err != nil && !strings.Contains(err.Error(), d.dst) {
				t.Errorf("%v: of what?", err)
			}
		})
	}
}

// namedFile is a file whose name can fail to be made durable.
type namedFile struct {
	*emulation.File
	sync func() error
}

func (f namedFile) SyncName() error { return f.sync() }

// recorded calls a function when something is said to be done.
type recorded struct {
	unwritten
	record func()
}

func (r recorded) Record([]journal.Extent) error { r.record(); return nil }
func (r recorded) Complete() error               { r.record(); return nil }

// TestNameOfDestination: nothing is said to be done, and no copy ends well, before the name of
// the file is durable. It is made so once.
func TestNameOfDestination(t *testing.T) {
	for _, fails := range []error{nil, unix.EIO} {
		synced, done := 0, 0
		d := newOnDisk(t, mib)
		d.open = func(e *ends.Endpoint) {
			e.Device = namedFile{e.Device.(*emulation.File), func() error {
				synced++
				return fails
			}}
		}
		rep, err := d.copy(t, dispatch.Options{Journaling: dispatch.Journaling{Journal: recorded{record: func() {
			if done++; synced == 0 {
				t.Error("the name is not durable")
			}
		}}}}, func() {})
		switch {
		case !errors.Is(err, fails) || (err == nil) != (rep.Result == account.OutcomeOK):
			t.Errorf("%v, want %v; %+v", err, fails, rep)
		case fails == nil && (synced != 1 || done < 2):
			t.Errorf("%d times, for %d entries", synced, done)
		case fails != nil && done > 0:
			t.Errorf("%d entries of a file without a durable name", done)
		}
	}
}

// TestDestinationFileIsPunched: what was written is there in the end, and was not taken away
// by somebody who has the file be as long as it was.
func TestDestinationFileIsPunched(t *testing.T) {
	const size = mib
	emptied := func(path string) error { return errors.Join(os.Truncate(path, 0), os.Truncate(path, size)) }
	punched := func(path string) error {
		return allocate(path, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 64*kib)
	}
	for _, c := range []struct {
		name  string
		do    func(path string) error
		opts  dispatch.Options
		zeros bool // of which the source has nothing else
		want  error
	}{
		{"cut off and made longer", emptied, dispatch.Options{}, false, failure.ErrPunched},
		{"with a hole", punched, dispatch.Options{}, false, failure.ErrPunched},
		{"with a hole, sparse", punched, dispatch.Options{Sparse: true}, false, failure.ErrPunched},
		{"with a hole, of a live source", punched, dispatch.Options{LiveSource: true}, false, failure.ErrPunched},
		{"with a hole where there are zeroes", punched, dispatch.Options{}, true, nil},
		{"of zeroes, sparse", func(string) error { return nil }, dispatch.Options{Sparse: true}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newOnDisk(t, size)
			if c.zeros {
				info, err := os.Stat(d.src)
				if err := errors.Join(err, os.WriteFile(d.src, make([]byte, size), 0o600), os.Chtimes(d.src, info.ModTime(), info.ModTime())); err != nil {
					t.Fatal(err)
				}
			}
			var failed error
			rep, err := d.copy(t, c.opts, func() { failed = c.do(d.dst) })
			if failed != nil {
				t.Fatal(failed)
			}
			if !errors.Is(err, c.want) || (err == nil) != (rep.Result == account.OutcomeOK) {
				t.Errorf("%v, want %v; %+v", err, c.want, rep)
			}
			if err != nil && !strings.Contains(err.Error(), d.dst) {
				t.Errorf("%v: of what?", err)
			}
		})
	}
}

// TestHoleOfALiveSource: what was a hole of a source that may change, and is data by now, is
// rightly a hole of the destination.
func TestHoleOfALiveSource(t *testing.T) {
	const size = mib
	d := newOnDisk(t, size)
	if err := allocate(d.src, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, size/2); err != nil {
		t.Fatal(err)
	}
	var failed error
	rep, err := d.copy(t, dispatch.Options{LiveSource: true}, func() {
		f, err := os.OpenFile(d.src, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("x"), 0)
			err = errors.Join(err, f.Close())
		}
		failed = err
	})
	if failed != nil {
		t.Fatal(failed)
	}
	if err != nil || !rep.SourceChanged || rep.Zeroed+rep.Skipped == 0 {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestSourceFileChanges: what was written to while it was copied is no copy of any
// moment, and accepted only as such.
func TestSourceFileChanges(t *testing.T) {
	const size = mib
	for _, c := range []struct {
		name  string
		do    func(path string) error
		wrong bool
	}{
		{"nothing", func(string) error { return nil }, false},
		{"read", func(path string) error { _, err := os.ReadFile(path); return err }, false},
		{"another mode", func(path string) error { return os.Chmod(path, 0o400) }, false},
		{"removed", os.Remove, false},
		{"written to", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("x"), 0)
			return errors.Join(err, f.Close())
		}, true},
		{"made longer", func(path string) error { return os.Truncate(path, size+1) }, true},
		{"written to, with the old time", func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("x"), 0)
			return errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, live := range []bool{false, true} {
				d := newOnDisk(t, size)
				var failed error
				rep, err := d.copy(t, dispatch.Options{LiveSource: live}, func() { failed = c.do(d.src) })
				if failed != nil {
					t.Fatal(failed)
				}
				if errors.Is(err, failure.ErrSourceChanged) != (c.wrong && !live) || (err == nil) != (rep.Result == account.OutcomeOK) {
					t.Errorf("live %v: %v, %+v", live, err, rep)
				}
				if rep.SourceChanged != (c.wrong && live && c.name != "written to, with the old time") {
					t.Errorf("live %v: it says %+v", live, rep)
				}
			}
		})
	}
}

// allocate changes what a file has of its first bytes.
func allocate(path string, mode uint32, bytes int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), mode, 0, bytes), f.Close())
}
