// Package changes proves copies of what does not stand still, and to it: contents
// that are written, maps that grow, members of arrays that fail and come back,
// while the disk copies below.
package changes

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// Everything lies on one namespace, so that everything can be offloaded. Its
// limits make several commands of a window.
var alpha = vm.Disk{Serial: "alpha", Size: 512 * mib, Copy: vm.CopyLimits{MSSRL: 256, MCL: 1024, MSRC: 127}}

// This one is unplugged by a test.
var doomed = vm.Disk{Serial: "doomed", Size: 64 * mib, Copy: alpha.Copy}

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3", // the kernel tells of every member that fails
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{alpha, doomed},
	})
}

// disk is the namespace, from which a test takes runs of sectors one after the
// other.
type disk struct {
	t    *testing.T
	path string
	next int64 // sectors
}

// runAlign is where runs begin, in sectors.
const runAlign = 2048

func newDisk(t *testing.T) *disk {
	t.Helper()
	vm.NoUdev(t)
	return &disk{t: t, path: vm.Device(t, alpha)}
}

// part makes a device of the next run of the disk.
func (d *disk) part(name string, bytes int64) string {
	d.t.Helper()
	path := vm.Linear(d.t, name, d.path, d.next*remap.SectorSize, bytes)
	d.next += (bytes/remap.SectorSize + runAlign - 1) / runAlign * runAlign
	if d.next*remap.SectorSize > alpha.Size {
		d.t.Fatal("the disk is too small")
	}
	return path
}

// clean zeroes the first MiB of a device, where headers are.
func clean(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(make([]byte, mib))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// state is where it is written down which metadata snapshots were taken.
const state = "/run/dmcopy-live"

// copyAll copies as the command does, within this process.
func copyAll(t *testing.T, src, dst string, opts dispatch.Options) (*account.Report, error) {
	opts.Log = slog.New(slog.NewTextHandler(logWriter{t}, nil))
	return copying.Way{Reader: layout.Options{TakeMetadataSnaps: true, State: state, Log: opts.Log}}.Copy(src, dst, opts)
}

// logWriter logs what dmcopy logs.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(line))
	return len(line), nil
}

// result is how a copy ended.
type result struct {
	report *account.Report
	err    error
}

// start begins a copy in the background.
func start(t *testing.T, src, dst string, opts dispatch.Options) <-chan result {
	ended := make(chan result, 1)
	go func() {
		report, err := copyAll(t, src, dst, opts)
		ended <- result{report, err}
	}()
	return ended
}

// must is the report of a copy that succeeds.
func (r result) must(t *testing.T) *account.Report {
	t.Helper()
	if r.err != nil {
		t.Fatalf("copy: %v (%+v)", r.err, r.report)
	}
	if !copying.AddsUp(r.report) || r.report.Result != account.OutcomeOK {
		t.Errorf("report does not add up: %+v", r.report)
	}
	t.Logf("%+v", *r.report)
	return r.report
}

// because is how many bytes were not offloaded for a reason.
func because(report *account.Report, why remap.Reason) int64 {
	for _, r := range report.Reasons {
		if r.Reason == why {
			return r.Bytes
		}
	}
	return 0
}
