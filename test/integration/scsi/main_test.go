// Package scsi proves EXTENDED COPY on a real kernel: its own target (LIO) on the
// loopback fabric, and stacks that real tools have built on its disks.
package scsi

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib = 1 << 20
	wwn = "naa.6001405000000001"
)

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{})
}

// copyAll copies one device to another.
func copyAll(src, dst string, offload plan.Policy) (*account.Report, error) {
	return copying.Copy(src, dst, dispatch.Options{Offload: offload})
}

// offloaded copies between stamped volumes, which the target has to do all alone.
func offloaded(t *testing.T, src, dst string, size int64, disks ...string) *account.Report {
	t.Helper()
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)
	var report *account.Report
	var err error
	through := vm.Crossed(t, func() { report, err = copyAll(src, dst, plan.OffloadRequire) }, disks...)
	if err != nil {
		t.Fatalf("%v: %+v", err, report)
	}
	vm.CheckStamp(t, dst, 1, 0, 0, size)
	if report.Offloaded != size || report.ByMethod[account.Method(copydomain.SCSIXCopy)] != size {
		t.Errorf("%+v", report)
	}
	t.Logf("%+v; %d sectors through the host", report, through)
	if through > uint64(size/512/4) {
		t.Errorf("%d sectors crossed the host for a copy of %d", through, size/512)
	}
	return report
}

func TestWithinAUnit(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 80 * mib})
	vm.Group(t, "vg", disks...)
	offloaded(t, vm.Volume(t, "vg", "from", 32*mib), vm.Volume(t, "vg", "to", 32*mib), 32*mib, disks...)
}

func TestBetweenUnits(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 40 * mib}, lun{"b", serialB, 40 * mib})
	vm.Group(t, "vg", disks...)
	offloaded(t, vm.Volume(t, "vg", "from", 32*mib, disks[0]), vm.Volume(t, "vg", "to", 32*mib, disks[1]), 32*mib, disks...)
}

// Pieces of a striped volume go within a unit and between units by turns.
func TestStriped(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 24 * mib}, lun{"b", serialB, 24 * mib})
	vm.Group(t, "vg", disks...)
	const size = 8 * mib
	offloaded(t, vm.Volume(t, "vg", "from", size, "-i", "2", "-I", "64k"), vm.Volume(t, "vg", "to", size, disks[1]), size, disks...)
}

func TestWholeDisks(t *testing.T) {
	const size = 16 * mib
	disks := target(t, wwn, lun{"a", serialA, size}, lun{"b", serialB, size})
	offloaded(t, disks[0], disks[1], size, disks...)
}

// Units whose serial numbers have their first 25 digits in common get one name from
// the kernel's target: it would take either name for the unit that gets the command.
// The host copies, because they hold different bytes. Once they look alike they may
// be two paths to one unit, and nothing is copied by whatever means.
func TestOneNameTwice(t *testing.T) {
	const size = 16 * mib
	disks := target(t, wwn, lun{"a", serialA, size}, lun{"b", serialNearA, size})
	vm.Stamp(t, disks[0], 1, 0, size)
	vm.Stamp(t, disks[1], 2, 0, size)
	vm.Settle(t)
	if _, s := scsi.Span(probe(t, disks[0]), probe(t, disks[1])); s.Reason != string(copydomain.ReasonDuplicate) {
		t.Errorf("%+v", s)
	}
	if report, err := copyAll(disks[0], disks[1], plan.OffloadRequire); !errors.Is(err, failure.ErrPolicy) {
		t.Errorf("%v: %+v", err, report)
	}
	vm.CheckStamp(t, disks[1], 2, 0, 0, size)
	throughHost(t, disks[0], disks[1], size, copydomain.ReasonDuplicate)
	if report, err := copyAll(disks[0], disks[1], plan.OffloadAuto); !errors.Is(err, failure.ErrRefused) {
		t.Errorf("%v: %+v", err, report)
	}
	// Within a unit there is one name and two who could be meant.
	vm.Group(t, "vg", disks[0])
	to := vm.Volume(t, "vg", "to", 4*mib)
	report, err := copyAll(vm.Volume(t, "vg", "from", 4*mib), to, plan.OffloadAuto)
	if err != nil || report.Offloaded != 0 || len(report.Reasons) != 1 || report.Reasons[0].Reason != copydomain.ReasonDuplicate {
		t.Errorf("within one of them: %v, %+v", err, report)
	}
	if err := vm.Compare("/dev/vg/from", 0, to, 0, 4*mib); err != nil {
		t.Error(err)
	}
	vm.CheckStamp(t, disks[1], 1, 0, 0, size)
}

// throughHost copies what the target cannot, for a reason: the bytes are right.
func throughHost(t *testing.T, src, dst string, size int64, why remap.Reason) {
	t.Helper()
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)
	report, err := copyAll(src, dst, plan.OffloadAuto)
	if err != nil || report.Host != size || report.Commands != 0 || len(report.Reasons) != 1 || report.Reasons[0].Reason != why {
		t.Errorf("%v: %+v", err, report)
	}
	vm.CheckStamp(t, src, 1, 0, 0, size)
	vm.CheckStamp(t, dst, 1, 0, 0, size)
}

// Blocks of 4096 bytes, and disks with blocks of different sizes.
func TestBlocksOf4096(t *testing.T) {
	const size = 8 * mib
	backing := stored(t, lun{"a", serialA, 24 * mib}, lun{"b", serialB, 24 * mib}, lun{"c", serialC, size})
	for _, unit := range backing[:2] {
		set(t, filepath.Join(unit, "attrib/block_size"), "4096")
	}
	disks := attach(t, wwn, 1, backing)[0]
	if d := probe(t, disks[0]); d.Capacity != (scsi.Capacity{Blocks: 24 * mib / 4096, BlockSize: 4096}) {
		t.Errorf("%+v", d.Capacity)
	}
	t.Run("to another size", func(t *testing.T) {
		throughHost(t, disks[2], disks[0], size, "domain:block-size")
	})
	t.Run("whole disks", func(t *testing.T) { offloaded(t, disks[0], disks[1], 24*mib, disks...) })
	vm.Group(t, "vg", disks[0], disks[1])
	from := vm.Volume(t, "vg", "from", size, disks[0])
	t.Run("within", func(t *testing.T) { offloaded(t, from, vm.Volume(t, "vg", "beside", size, disks[0]), size, disks...) })
	t.Run("between", func(t *testing.T) { offloaded(t, from, vm.Volume(t, "vg", "to", size, disks[1]), size, disks...) })
}

// More blocks than a segment can name, in one piece, from an odd block on.
func TestMoreThanASegment(t *testing.T) {
	const size = 36*mib - 512
	disks := target(t, wwn, lun{"a", serialA, 36 * mib}, lun{"b", serialB, 36 * mib})
	linear := func(name, disk string) string {
		return vm.Mapped(t, name, fmt.Sprintf("0 %d linear %s 1", size/512, disk))
	}
	report := offloaded(t, linear("from", disks[0]), linear("to", disks[1]), size, disks...)
	if report.Commands < 3 { // the first proves the pair
		t.Errorf("%d commands for %d blocks", report.Commands, size/512)
	}
}

// A unit that does not copy, on either side, from the start or from some time on.
func TestWithoutThirdPartyCopy(t *testing.T) {
	const size = 16 * mib
	disks := target(t, wwn, lun{"a", serialA, size}, lun{"b", serialB, size})
	able := func(unit, value string) { set(t, filepath.Join(core, "rd_mcp_0", unit, "attrib/emulate_3pc"), value) }
	for _, unit := range []string{"a", "b"} {
		able(unit, "0")
		throughHost(t, disks[0], disks[1], size, "domain:no-copy-command")
		if report, err := copyAll(disks[0], disks[1], plan.OffloadRequire); !errors.Is(err, failure.ErrPolicy) {
			t.Errorf("%v: %+v", err, report)
		}
		able(unit, "1")
	}
	for _, unit := range []string{"a", "b"} {
		vm.Stamp(t, disks[0], 1, 0, size)
		vm.Stamp(t, disks[1], 2, 0, size)
		vm.Settle(t)
		between := &onlooker{before: func(n int, _ copydomain.Pair) {
			if n == 2 {
				able(unit, "0")
			}
		}}
		report, err := copying.Way{Between: between.in}.Copy(disks[0], disks[1], dispatch.Options{Window: 4 * mib})
		if err != nil || report.Offloaded == 0 || report.Host == 0 || report.Offloaded+report.Host != size {
			t.Errorf("%s: %v, %+v", unit, err, report)
		}
		t.Logf("%+v", report)
		vm.CheckStamp(t, disks[1], 1, 0, 0, size)
		able(unit, "1")
	}
}

// probe opens a disk or generic device and asks it.
func probe(t *testing.T, path string) *scsi.Device {
	t.Helper()
	f, err := scsi.Open(filepath.Base(path), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := scsi.Probe(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestProbe(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 16 * mib}, lun{"b", serialB, 16 * mib}, lun{"c", serialC, 16 * mib})
	set(t, filepath.Join(core, "rd_mcp_0/c/attrib/emulate_3pc"), "0")
	a, b, c := probe(t, disks[0]), probe(t, disks[1]), probe(t, disks[2])
	if a.Support.Able != blocks.Yes || a.Serial != serialA || a.Name.String() != "naa.6001405aa5eed0000004000800000000" || a.Capacity != (scsi.Capacity{Blocks: 16 * mib / 512, BlockSize: 512}) {
		t.Errorf("%v: %+v", a, a.Identity)
	}
	if want := (scsi.Limits{SegmentBlocks: 65535, CommandBlocks: 65535, Segments: 1, Granularity: 1}); a.Limits != want {
		t.Errorf("limits %v", a.Limits)
	}
	if a.Target() != b.Target() {
		t.Errorf("targets %s and %s", a.Target(), b.Target())
	}
	if _, s := scsi.Span(a, b); s.Able != blocks.Yes {
		t.Errorf("%+v", s)
	}
	if c.Support.Reason != "domain:no-copy-command" {
		t.Errorf("%+v", c.Support)
	}
	if err := a.Flush(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
}

// generic is the generic device of a disk.
func generic(t *testing.T, disk string) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("/sys/block", filepath.Base(disk), "device/scsi_generic/*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	return filepath.Base(dirs[0])
}

// commandsOf counts the commands that a unit has got.
func commandsOf(t *testing.T, name string) (n int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(core, "rd_mcp_0", name, "statistics/scsi_lu/num_cmds"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// disturb sends signals to all threads of this process until calm is called.
func disturb(t *testing.T) (calm func()) {
	received := make(chan os.Signal, 1)
	signal.Notify(received, unix.SIGUSR1)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			tasks, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Error(err)
				return
			}
			for _, task := range tasks {
				id, err := strconv.Atoi(task.Name())
				if err == nil {
					err = unix.Tgkill(os.Getpid(), id, unix.SIGUSR1)
				}
				if err != nil && !errors.Is(err, unix.ESRCH) {
					t.Error(err)
				}
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		signal.Stop(received)
	}
}

// Through generic devices, and with signals coming in all the time: every command
// is sent once.
func TestGenericDevices(t *testing.T) {
	const count = 64 * mib / 512
	disks := target(t, wwn, lun{"a", serialA, 64 * mib}, lun{"b", serialB, 64 * mib})
	vm.Stamp(t, disks[0], 1, 0, 64*mib)
	vm.Stamp(t, disks[1], 2, 0, 64*mib)
	vm.Settle(t)
	src, dst := probe(t, generic(t, disks[0])), probe(t, generic(t, disks[1]))
	copier, err := scsi.NewCopier(src, dst, blocks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := commandsOf(t, "b")
	calm := disturb(t)
	result, err := copier.Copy(t.Context(), []blocks.Piece{{SrcLBA: 0, DstLBA: 0, Blocks: count}})
	calm()
	got := commandsOf(t, "b") - before
	if err != nil || len(result.Redo)+len(result.Fenced) != 0 || result.Commands != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	// Two pages and a capacity to make sure that it is the same unit.
	if want := result.Commands + 3; got != want {
		t.Errorf("the unit got %d commands instead of %d", got, want)
	}
	vm.CheckStamp(t, disks[1], 1, 0, 0, 64*mib)
}

// What the kernel's target says of what it does not do.
func TestRefusals(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 16 * mib}, lun{"b", serialB, 16 * mib})
	a, b := probe(t, disks[0]), probe(t, disks[1])
	if _, err := a.CopyStatus(t.Context(), scsi.LID1, 1); !errors.Is(err, scsi.SenseCompletion(scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x24}).Err()) {
		t.Errorf("copy status: %v", err)
	}
	set(t, filepath.Join(core, "rd_mcp_0/a/attrib/emulate_3pc"), "0")
	copier, err := scsi.NewCopier(a, b, blocks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := copier.Copy(t.Context(), []blocks.Piece{{SrcLBA: 0, DstLBA: 0, Blocks: 8}})
	if err != nil || len(result.Redo) != 1 || result.Redo[0].Action != blocks.ActionNotSupported {
		t.Errorf("a source out of reach: %+v, %v", result, err)
	}
	t.Logf("%+v", result)
}
