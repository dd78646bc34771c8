package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	diskCopy1  = Disk{Serial: "copy", NSID: 1, Size: 256 << 20, Copy: CopyLimits{MSSRL: 1024, MCL: 4096, MSRC: 15}}
	diskCopy2  = Disk{Serial: "copy", NSID: 2, Size: 128 << 20, BlockSize: 4096}
	diskShared = Disk{Serial: "shared", NSID: 7, Size: 64 << 20, Controllers: 2}
	diskNoCopy = Disk{Serial: "shared", NSID: 8, Size: 32 << 20, NoCopy: true}
	diskVirtio = Disk{Bus: BusVirtio, Serial: "virt", Size: 64 << 20}
	diskSCSI   = Disk{Bus: BusSCSI, Serial: "scsi", Size: 64 << 20, BlockSize: 4096}
)

var machine = Machine{Programs: []string{"./cmd/vmrun"}, Disks: []Disk{diskCopy1, diskCopy2, diskShared, diskNoCopy, diskVirtio, diskSCSI}}

func TestMain(m *testing.M) {
	// The worst that QEMU's memory can hold before it is initialized, unless zeroedMemory takes its place.
	if err := os.Setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.perturb=1"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	Main(m, machine)
}

func TestFindsDisks(t *testing.T) {
	for _, d := range machine.Disks {
		t.Run(d.Name(), func(t *testing.T) {
			path := Device(t, d)
			if got, want := strings.TrimSpace(Run(t, "blockdev", "--getsize64", path)), fmt.Sprint(d.Size); got != want {
				t.Errorf("%s: %s bytes, want %s", path, got, want)
			}
			if got, want := strings.TrimSpace(Run(t, "blockdev", "--getss", path)), fmt.Sprint(d.blockSize()); got != want {
				t.Errorf("%s: logical blocks of %s bytes, want %s", path, got, want)
			}
		})
	}
	if path, err := NVMe("copy", 3); err == nil {
		t.Errorf("NSID 3, which does not exist, found as %s", path)
	}
}

func TestCopyLimits(t *testing.T) {
	for _, d := range []Disk{diskCopy1, diskNoCopy} {
		var got CopyLimits
		if err := json.Unmarshal([]byte(Run(t, "nvme", "id-ns", "--output-format=json", Device(t, d))), &got); err != nil {
			t.Fatal(err)
		}
		if got != d.Copy {
			t.Errorf("%s: %+v, want %+v", d.Name(), got, d.Copy)
		}
	}
}

// supportsCopy reads bit 8 of ONCS.
func supportsCopy(t *testing.T, dev string) bool {
	var controller struct{ ONCS uint16 }
	if err := json.Unmarshal([]byte(Run(t, "nvme", "id-ctrl", "--output-format=json", dev)), &controller); err != nil {
		t.Fatal(err)
	}
	return controller.ONCS&(1<<8) != 0
}

func TestNVMeTargetHasNoCopy(t *testing.T) {
	backing := Device(t, diskVirtio)
	Stamp(t, backing, 4, 0, 1<<20)
	target := NVMeTarget(t, backing)
	CheckStamp(t, target, 4, 0, 0, 1<<20)
	if supportsCopy(t, target) {
		t.Error("the NVMe target has learnt to copy: a controller without Copy is needed from somewhere else")
	}
	if !supportsCopy(t, Device(t, diskCopy1)) {
		t.Error("QEMU's controller has no Copy")
	}
}

func TestPlugAndUnplugPath(t *testing.T) {
	paths := func() int {
		// One hidden path device for each controller that the namespace is attached to.
		dirs, err := filepath.Glob("/sys/class/nvme/nvme*/nvme*c*n*")
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, dir := range dirs {
			if attribute(filepath.Dir(dir), "serial") == diskShared.Serial && attribute(dir, "nsid") == "7" {
				count++
			}
		}
		return count
	}
	await := func(want int) {
		Eventually(t, "paths", func() error {
			if got := paths(); got != want {
				return fmt.Errorf("%d paths, want %d", got, want)
			}
			return nil
		})
	}
	await(2)
	if err := PlugController(diskShared.Serial, 2); err != nil {
		t.Fatal(err)
	}
	await(3)
	if err := Unplug(diskShared.Serial + "-c2"); err != nil {
		t.Fatal(err)
	}
	await(2)
}

func TestHold(t *testing.T) {
	dev := Device(t, diskCopy1)
	Stamp(t, dev, 1, 0, 1<<20)
	Stamp(t, dev, 2, 1<<20, 1<<20)
	t.Cleanup(func() {
		if err := SetFaults(diskCopy1); err != nil {
			t.Error(err)
		}
	})
	release, err := Hold(diskCopy1, "write")
	if err != nil {
		t.Fatal(err)
	}
	copied := make(chan error, 1)
	go func() {
		_, err := TryRun("nvme", "copy", dev, "--sdlba=2048", "--slbs=0", "--blocks=1023", "--format=0")
		copied <- err
	}()
	Eventually(t, "copy command in flight", func() error {
		// The block layer's own list of requests that a driver has; passthrough commands are DRV_OUT.
		out, err := TryRun("sh", "-c", "cat /sys/kernel/debug/block/nvme*/hctx*/busy")
		if err == nil && !strings.Contains(out, "DRV_OUT") {
			err = fmt.Errorf("requests in flight: %q", out)
		}
		return err
	})
	CheckStamp(t, dev, 2, 1<<20, 1<<20, 1024*512)
	select {
	case err := <-copied:
		t.Errorf("the copy was not held: %v", err)
	default:
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := <-copied; err != nil {
		t.Error(err)
	}
	CheckStamp(t, dev, 1, 1<<20, 0, 1024*512)
}

func TestNVMeCopy(t *testing.T) {
	dev := Device(t, diskCopy1)
	const length = 1024 * 512
	Stamp(t, dev, 1, 0, length)
	written := sectorsWritten(t, dev)
	Stamp(t, dev, 2, 1<<20, length)
	if got := sectorsWritten(t, dev) - written; got != length/512 {
		t.Errorf("diskstats: %d sectors written, want %d", got, length/512)
	}
	written = sectorsWritten(t, dev)
	Run(t, "nvme", "copy", dev, "--sdlba=2048", "--slbs=0", "--blocks=1023", "--format=0")
	if got := sectorsWritten(t, dev) - written; got != 0 {
		t.Errorf("diskstats: %d sectors written by the copy command", got)
	}
	CheckStamp(t, dev, 1, 1<<20, 0, length)
	if err := Compare(dev, 0, dev, 1<<20, length); err != nil {
		t.Error(err)
	}
	CheckStamp(t, dev, 1, 0, 0, length)
}

func sectorsWritten(t *testing.T, dev string) uint64 {
	t.Helper()
	_, written, err := Diskstats(dev)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func TestPrograms(t *testing.T) {
	cmd := exec.Command("vmrun", "-no-such-flag")
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "usage: vmrun") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStampTellsMisplacement(t *testing.T) {
	dev := Device(t, diskVirtio)
	Stamp(t, dev, 5, 0, 3<<20)
	Stamp(t, dev, 6, 2<<20+4096, 512)
	err := TryStamp(dev, 5, 0, 0, 3<<20)
	var wrong *StampError
	if !errors.As(err, &wrong) || wrong.Offset != 2<<20+4096 || !strings.Contains(wrong.Holds, "seed 6") {
		t.Errorf("wrong sector not told: %v", err)
	}
	a, err := Hash(dev, 0, 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	Stamp(t, dev, 5, 2<<20+4096, 512)
	b, err := Hash(dev, 0, 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("different contents, equal hashes")
	}
	if err := Compare(dev, 0, dev, 1<<20, 1<<20); !errors.Is(err, ErrDiffer) {
		t.Errorf("Compare of different contents: %v", err)
	}
}

func TestTraceSeesLinear(t *testing.T) {
	leaf := Device(t, diskVirtio)
	Run(t, "dmsetup", "create", "trace", "--table", "0 2048 linear "+leaf+" 4096")
	t.Cleanup(func() { Run(t, "dmsetup", "remove", "trace") })
	Settle(t)
	upper, err := DeviceNumber("/dev/mapper/trace")
	if err != nil {
		t.Fatal(err)
	}
	lower, err := DeviceNumber(leaf)
	if err != nil {
		t.Fatal(err)
	}
	remaps := TraceRemap(t, func() { Stamp(t, "/dev/mapper/trace", 9, 512*512, 64<<10) })
	var sectors uint64
	for _, r := range remaps {
		// udev looks at a device whenever a writer has closed it, so there may be reads of others.
		if r.FromDev != upper || r.Len == 0 || !ofThisProcess(r.TID) {
			continue
		}
		if r.Dev != lower || r.Sector != r.FromSector+4096 || r.FromSector != 512+sectors || !strings.HasPrefix(r.RWBS, "W") {
			t.Errorf("unexpected remap %+v", r)
		}
		sectors += r.Len
	}
	if sectors != 128 {
		t.Errorf("%d sectors seen, want 128: %+v", sectors, remaps)
	}
	CheckStamp(t, leaf, 9, 512*(4096+512), 512*512, 64<<10)
}

// ofThisProcess says whether a thread is one of ours; Go threads stay around.
func ofThisProcess(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
	return err == nil
}

func TestLVM(t *testing.T) {
	dev := Device(t, diskShared)
	Run(t, "vgcreate", "vg", dev)
	t.Cleanup(func() { Run(t, "vgremove", "-f", "vg"); Run(t, "pvremove", dev) })
	Run(t, "lvcreate", "-n", "a", "-L", "8M", "vg")
	Stamp(t, "/dev/vg/a", 3, 0, 8<<20)
	CheckStamp(t, "/dev/vg/a", 3, 0, 0, 8<<20)
	if got := strings.Fields(Run(t, "lvs", "--noheadings", "-o", "lv_name", "vg")); len(got) != 1 || got[0] != "a" {
		t.Errorf("lvs: %q", got)
	}
	if _, err := os.Stat("/run/lock/lvm"); err != nil {
		t.Error(err)
	}
}

func TestThrottle(t *testing.T) {
	dev := Device(t, diskCopy2)
	// The group lets one burst through, hence two commands: the second waits for the first one's debt.
	read := func() time.Duration {
		start := time.Now()
		for range 2 {
			if _, err := Hash(dev, 0, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(start)
	}
	if err := Throttle(diskCopy2, 1<<20, 0); err != nil {
		t.Fatal(err)
	}
	slow := read()
	if err := Throttle(diskCopy2, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Logf("throttled to 1 MiB/s: 2 MiB took %v", slow)
	if slow < time.Second {
		t.Errorf("2 MiB at 1 MiB/s took %v, want at least 1 s", slow)
	}
	var limits map[string]any
	if err := QMP("qom-get", map[string]any{"path": "/objects/copy-2-limits", "property": "limits"}, &limits); err != nil {
		t.Fatal(err)
	}
	if limits["bps-total"] != 0.0 {
		t.Errorf("limits after the end: %v", limits)
	}
}

func TestQMPRefusal(t *testing.T) {
	var refusal *QMPError
	if err := QMP("no-such-command", nil, nil); !errors.As(err, &refusal) || refusal.Class != "CommandNotFound" {
		t.Errorf("QMP: %v", err)
	}
}

func TestFaults(t *testing.T) {
	dev := Device(t, diskCopy1)
	Stamp(t, dev, 1, 0, 1<<20)
	if err := SetFaults(diskCopy1, Fault{IOType: "read", Sector: 8}); err != nil {
		t.Fatal(err)
	}
	defer SetFaults(diskCopy1)
	if _, err := Hash(dev, 4096, 4096); err == nil {
		t.Error("read of the faulty sector succeeded")
	}
	CheckStamp(t, dev, 1, 8192, 8192, 8192)
	// This one would end QEMU, see zeroedMemory and TestMain.
	if out, err := TryRun("nvme", "copy", dev, "--sdlba=2048", "--slbs=0", "--blocks=15", "--format=0"); err == nil {
		t.Errorf("copy of the faulty sector succeeded: %s", out)
	} else {
		t.Log(err)
	}
	if err := SetFaults(diskCopy1); err != nil {
		t.Fatal(err)
	}
	CheckStamp(t, dev, 1, 0, 0, 1<<20)
}

func TestCgroupIO(t *testing.T) {
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(" "+string(controllers), " io ") {
		t.Fatalf("no io controller: %s", controllers)
	}
	number, err := DeviceNumber(Device(t, diskVirtio))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+io"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("/sys/fs/cgroup/slow", 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/sys/fs/cgroup/slow")
	if err := os.WriteFile("/sys/fs/cgroup/slow/io.max", []byte(number+" rbps=1048576"), 0); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/sys/fs/cgroup/slow/io.max")
	if err != nil || !strings.Contains(string(text), "rbps=1048576") {
		t.Errorf("io.max: %q, %v", text, err)
	}
	start := time.Now()
	Run(t, "sh", "-c", "echo $$ >/sys/fs/cgroup/slow/cgroup.procs; exec dd if="+Device(t, diskVirtio)+" of=/dev/null iflag=direct bs=1M count=2")
	if took := time.Since(start); took < time.Second {
		t.Errorf("2 MiB at 1 MiB/s took %v", took)
	}
}

func BenchmarkHash(b *testing.B) {
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := Hash(Device(b, diskVirtio), 0, 16<<20); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStamp(b *testing.B) {
	b.SetBytes(16 << 20)
	for b.Loop() {
		Stamp(b, Device(b, diskVirtio), 1, 0, 16<<20)
	}
}

func BenchmarkCheckStamp(b *testing.B) {
	Stamp(b, Device(b, diskVirtio), 1, 0, 16<<20)
	b.SetBytes(16 << 20)
	for b.Loop() {
		CheckStamp(b, Device(b, diskVirtio), 1, 0, 0, 16<<20)
	}
}
