// Package scsi proves EXTENDED COPY on a real kernel: its own target (LIO) on the
// loopback fabric, and stacks that real tools have built on its disks.
package scsi

import (
	"context"
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
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/snapshot"
	"github.com/dmcopy/dmcopy/sysblock"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib = 1 << 20
	wwn = "naa.6001405000000001"
)

func TestMain(m *testing.M) {
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	vm.Main(m, vm.Machine{})
}

// patience bounds a copy; it is no measure.
const patience = 2 * time.Minute

// copyAll copies one device to another as the command does.
func copyAll(src, dst string, offload dispatch.Policy) (*dispatch.Report, error) {
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
	reader := snapshot.NewReader(snapshot.Options{})
	defer reader.Close()
	k := dispatch.NewMachine(reader, nil)
	defer k.Close()
	return dispatch.New(k, dispatch.Options{Offload: offload}).Copy(ctx, dispatch.Job{Src: from, Dst: to})
}

// group makes a volume group on the disks, gone with the test.
func group(t *testing.T, name string, disks ...string) {
	t.Helper()
	vm.Run(t, "vgcreate", append([]string{"-y", name}, disks...)...)
	t.Cleanup(func() {
		vm.Run(t, "vgremove", "-ff", "-y", name)
		vm.Run(t, "pvremove", append([]string{"-ff", "-y"}, disks...)...)
	})
}

// volume makes a logical volume and returns its path.
func volume(t *testing.T, name string, size int64, args ...string) string {
	t.Helper()
	vm.Run(t, "lvcreate", append([]string{"-y", "-Wn", "-Zn", "-n", name, "-L", fmt.Sprintf("%db", size), "vg"}, args...)...)
	return "/dev/vg/" + name
}

// offloaded copies between stamped volumes, which the target has to do all alone.
func offloaded(t *testing.T, src, dst string, size int64, disks ...string) {
	t.Helper()
	vm.Stamp(t, src, 1, 0, size)
	vm.Stamp(t, dst, 2, 0, size)
	vm.Settle(t)
	before := crossed(t, disks)
	report, err := copyAll(src, dst, dispatch.OffloadRequire)
	if err != nil {
		t.Fatalf("%v: %+v", err, report)
	}
	through := crossed(t, disks) - before
	vm.CheckStamp(t, dst, 1, 0, 0, size)
	if report.Offloaded != size || report.ByMethod[dispatch.Method(copydomain.SCSIXCopy)] != size {
		t.Errorf("%+v", report)
	}
	t.Logf("%+v; %d sectors through the host", report, through)
	if through > uint64(size/512/10) {
		t.Errorf("%d sectors crossed the host for a copy of %d", through, size/512)
	}
}

// crossed is how many sectors the host has read and written on the disks.
func crossed(t *testing.T, disks []string) (sum uint64) {
	t.Helper()
	for _, d := range disks {
		read, written, err := vm.Diskstats(d)
		if err != nil {
			t.Fatal(err)
		}
		sum += read + written
	}
	return sum
}

func TestWithinAUnit(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 160 * mib})
	group(t, "vg", disks...)
	offloaded(t, volume(t, "from", 64*mib), volume(t, "to", 64*mib), 64*mib, disks...)
}

func TestBetweenUnits(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 80 * mib}, lun{"b", serialB, 80 * mib})
	group(t, "vg", disks...)
	offloaded(t, volume(t, "from", 64*mib, disks[0]), volume(t, "to", 64*mib, disks[1]), 64*mib, disks...)
}

// Pieces of a striped volume go within a unit and between units by turns.
func TestStriped(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 80 * mib}, lun{"b", serialB, 80 * mib})
	group(t, "vg", disks...)
	const size = 32 * mib
	offloaded(t, volume(t, "from", size, "-i", "2", "-I", "64k"), volume(t, "to", size, disks[1]), size, disks...)
}

func TestWholeDisks(t *testing.T) {
	const size = 40 * mib
	disks := target(t, wwn, lun{"a", serialA, size}, lun{"b", serialB, size})
	offloaded(t, disks[0], disks[1], size, disks...)
}

// Units whose serial numbers have their first 25 digits in common get one name from
// the kernel's target: it would take either name for the unit that gets the command.
// Nothing that is asked for both of them is copied, by whatever means: they may be
// two paths to one unit.
func TestOneNameTwice(t *testing.T) {
	const size = 16 * mib
	disks := target(t, wwn, lun{"a", serialA, size}, lun{"b", serialNearA, size})
	vm.Stamp(t, disks[0], 1, 0, size)
	vm.Stamp(t, disks[1], 2, 0, size)
	vm.Settle(t)
	if _, s := scsi.Span(probe(t, disks[0]), probe(t, disks[1])); s.Reason != string(copydomain.ReasonDuplicate) {
		t.Errorf("%+v", s)
	}
	for _, policy := range []dispatch.Policy{dispatch.OffloadRequire, dispatch.OffloadAuto} {
		if report, err := copyAll(disks[0], disks[1], policy); err == nil {
			t.Errorf("copied: %+v", report)
		}
	}
	vm.CheckStamp(t, disks[0], 1, 0, 0, size)
	vm.CheckStamp(t, disks[1], 2, 0, 0, size)
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
	if a.Support.Verdict != blocks.Yes || a.Serial != serialA || a.Name.String() != "naa.6001405aa5eed0000004000800000000" || a.Capacity != (scsi.Capacity{Blocks: 16 * mib / 512, BlockSize: 512}) {
		t.Errorf("%v: %+v", a, a.Identity)
	}
	if want := (scsi.Limits{SegmentBlocks: 65535, CommandBlocks: 65535, Segments: 1, Granularity: 1}); a.Limits != want {
		t.Errorf("limits %v", a.Limits)
	}
	if a.Target() != b.Target() {
		t.Errorf("targets %s and %s", a.Target(), b.Target())
	}
	if _, s := scsi.Span(a, b); s.Verdict != blocks.Yes {
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
