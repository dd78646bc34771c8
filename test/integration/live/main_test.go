// Package live proves copies of what does not stand still, and to it: contents
// that are written, maps that grow, members of arrays that fail and come back,
// while the disk copies below.
package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/snapshot"
	"github.com/dmcopy/dmcopy/sysblock"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// Everything lies on one namespace, so that everything can be offloaded. Its
// limits make several commands of a window.
var alpha = vm.Disk{Serial: "alpha", Size: 512 * mib, Copy: vm.CopyLimits{MSSRL: 256, MCL: 1024, MSRC: 127}}

func TestMain(m *testing.M) {
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3", // the kernel tells of every member that fails
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{alpha},
	})
}

// noUdev ends udevd, which would assemble arrays of members that a test has
// just taken away. The tools make device nodes themselves then.
func noUdev(t *testing.T) {
	t.Helper()
	const socket = "/run/udev/control" // by which libraries tell that it runs
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return
	}
	for name, value := range map[string]string{"DM_DISABLE_UDEV": "1", "MDADM_NO_UDEV": "1"} {
		if err := os.Setenv(name, value); err != nil {
			t.Fatal(err)
		}
	}
	vm.Settle(t)
	vm.Run(t, "udevadm", "control", "--exit")
	vm.Eventually(t, "end of udevd", func() error {
		if running, err := vm.TryRun("pidof", "systemd-udevd", "udevd", "udevadm"); err == nil {
			return fmt.Errorf("still running: %s", running)
		}
		return nil
	})
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
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
	noUdev(t)
	return &disk{t: t, path: vm.Device(t, alpha)}
}

// part makes a device of the next run of the disk.
func (d *disk) part(name string, bytes int64) string {
	d.t.Helper()
	path := mapped(d.t, name, fmt.Sprintf("0 %d linear %s %d", bytes/remap.SectorSize, d.path, d.next))
	d.next += (bytes/remap.SectorSize + runAlign - 1) / runAlign * runAlign
	if d.next*remap.SectorSize > alpha.Size {
		d.t.Fatal("the disk is too small")
	}
	return path
}

// mapped makes a dm device, gone with the test.
func mapped(t *testing.T, name, table string) string {
	t.Helper()
	vm.Run(t, "dmsetup", "create", name, "--table", table)
	t.Cleanup(func() {
		if _, err := vm.TryRun("dmsetup", "remove", "--retry", name); err != nil {
			t.Error(err)
		}
	})
	return "/dev/mapper/" + name
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

// slowly bounds the bytes per second of the disk until the test ends or fast is
// called. A Copy counts twice: it reads and writes.
func slowly(t *testing.T, bytesPerSec int64) (fast func()) {
	t.Helper()
	if err := vm.Throttle(alpha, bytesPerSec, 0); err != nil {
		t.Fatal(err)
	}
	fast = func() {
		if err := vm.Throttle(alpha, 0, 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(fast)
	return fast
}

// patience bounds a copy; it is no measure.
const patience = 2 * time.Minute

// state is where it is written down which metadata snapshots were taken.
const state = "/run/dmcopy-live"

// copyAll copies as the command does, within this process.
func copyAll(t *testing.T, src, dst string, opts dispatch.Options) (*dispatch.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	from, err := dispatch.OpenSource(ctx, sysblock.FS(""), src, dispatch.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := dispatch.OpenDestination(ctx, sysblock.FS(""), dst, dispatch.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer to.Close()
	opts.Log = slog.New(slog.NewTextHandler(logWriter{t}, nil))
	reader := snapshot.NewReader(snapshot.Options{HoldRoots: true, State: state, Log: opts.Log})
	k := dispatch.NewMachine(reader, opts.Log)
	report, err := dispatch.New(k, opts).Copy(ctx, dispatch.Job{Src: from, Dst: to})
	return report, errors.Join(err, k.Close(), reader.Close())
}

// logWriter logs what dmcopy logs.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(line))
	return len(line), nil
}

// result is how a copy ended.
type result struct {
	report *dispatch.Report
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
func (r result) must(t *testing.T) *dispatch.Report {
	t.Helper()
	if r.err != nil {
		t.Fatalf("copy: %v (%+v)", r.err, r.report)
	}
	if sum := r.report.Offloaded + r.report.Host + r.report.Zeroed + r.report.Skipped; sum != r.report.Total || r.report.Result != dispatch.OutcomeOK {
		t.Errorf("report does not add up: %+v", r.report)
	}
	t.Logf("%+v", *r.report)
	return r.report
}

// because is how many bytes were not offloaded for a reason.
func because(report *dispatch.Report, why remap.Reason) int64 {
	for _, r := range report.Reasons {
		if r.Reason == why {
			return r.Bytes
		}
	}
	return 0
}
