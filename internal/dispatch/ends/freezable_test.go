package ends

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// numberOf is the number that the files of a directory report.
func numberOf(t *testing.T, dir string) remap.Dev {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return remap.Dev{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)}
}

// lakeMachine has a volume whose file system is that of the tests' directory, and
// others that cannot be frozen.
func lakeMachine(t *testing.T) (*sysblocktest.Machine, remap.Dev) {
	m := sysblocktest.New(t)
	dev := numberOf(t, t.TempDir())
	m.Disk("sda", "8:0", 1<<20)
	m.Part("sda", "sda1", "8:1", 1, 2048, 2048)
	m.Part("sda", "sda2", "8:2", 2, 4096, 2048)
	m.Mapped("dm-0", dev.String(), "vg-home", 2048, "sda1")
	m.Set("dm-0", "dm/suspended", "0")
	m.Disk("sdb", "8:16", 4096)
	m.Disk("sdc", "8:32", 4096)
	m.Disk("sdd", "8:48", 4096)
	m.Link("sys/fs/btrfs/0b3d/devices/sdc", "sys/class/block/sdc")
	m.File("mnt/home/file", "x")
	m.File("mnt/other/file", "x")
	m.File("proc/swaps", "Filename Type Size Used Priority\n/dev/sdd partition 1 0 -2")
	m.File("proc/self/mountinfo", fmt.Sprintf(`28 1 8:2 / /mnt/other rw - ext4 /dev/sda2 rw
29 1 %[1]s / /nowhere rw - ext4 /dev/mapper/vg-home rw
30 1 %[1]s /sub /mnt/home ro - ext4 /dev/mapper/vg-home rw`, dev))
	return m, dev
}

func TestFreezable(t *testing.T) {
	m, dev := lakeMachine(t)
	for name, says := range map[string][]string{
		"vg/home":        nil, // it has no node, and that is all that is wrong
		"sda1":           nil, // what is made of it is mounted
		"sda":            {"sda cannot be frozen: there are several file systems on it, and"},
		"sdb":            {"sdb is not mounted read-write: there is nothing to freeze: leave out --freeze"},
		"sdc":            {"sdc cannot be frozen: it belongs to a file system (btrfs 0b3d)", "lvcreate -s"},
		"sda2":           {"sda2 cannot be frozen: open ", "another file system is mounted over it"},
		"./freezable.go": {"./freezable.go cannot be frozen: it is a regular file"},
	} {
		_, err := OpenSource(context.Background(), m.FS(), name, OpenOptions{Freeze: true})
		wantRefusal(t, err, says)
	}
	o := opener{sys: m.FS(), name: "vg/home"}
	if err := o.find(context.Background()); err != nil {
		t.Fatal(err)
	}
	found, err := freezing{&o}.fileSystem(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found.Dev() != dev || !strings.HasSuffix(found.Point(), "/mnt/home") {
		t.Errorf("%+v", found)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
}

// mountedHere is a source on the file system of a directory.
func mountedHere(t *testing.T, dir string) Endpoint {
	t.Helper()
	mounted, err := freeze.Open(dir, numberOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mounted.Close() })
	return Endpoint{Name: "vg/home", mounted: mounted}
}

// fileAt is a file that is not looked into.
type fileAt struct {
	emulation.Device
	path string
}

func (f fileAt) Name() string { return f.path }

// elsewhere is a directory of another file system.
const elsewhere = "/proc"

func TestRefuseFreeze(t *testing.T) {
	dir := t.TempDir()
	src := mountedHere(t, dir)
	far := Endpoint{Name: "far", Device: fileAt{path: elsewhere + "/none"}}
	near := Endpoint{Name: "near", Device: fileAt{path: filepath.Join(dir, "new/file")}}
	for name, c := range map[string]struct {
		dst   Endpoint
		needs []Needed
		says  string
	}{
		"nothing":     {far, []Needed{{Path: "/dev/null"}, {Path: elsewhere + "/uptime"}, {Path: elsewhere}}, ""},
		"destination": {near, nil, "vg/home cannot be frozen: the destination near lies on it, and the copy would wait for itself: choose another destination"},
		"program":     {far, []Needed{{What: "the program", Path: dir + "/program", Way: "move it", ReadOnly: true}}, "the program lies on it, and the copy would wait for itself: move it"},
		"state":       {far, []Needed{{What: "the state file", Path: dir + "/no/such/dir/file", Way: "move it"}}, "the state file lies on it, and the copy would wait for itself: move it"},
	} {
		err := RefuseFreeze(here, src, c.dst, c.needs)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestCreateOnFrozen: a file on what is to be frozen is not even made.
func TestCreateOnFrozen(t *testing.T) {
	src := mountedHere(t, t.TempDir())
	src.Device = plannedFile{size: 4096}
	file := filepath.Join(t.TempDir(), "new")
	_, _, err := CreateDestination(context.Background(), here, file, src, []byterange.Range{{Len: 4096}}, OpenOptions{})
	if !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), "lies on it") {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}

// TestRefuseFreezeUnknown: what may lie on the file system, if only that could be told,
// counts unless it is only read.
func TestRefuseFreezeUnknown(t *testing.T) {
	b := freezeCheck{}
	unknown := fmt.Errorf("%w: for a test", errOpaque)
	if err := b.refuse(Endpoint{Name: "src"}, Needed{What: "the state"}, unknown); !errors.Is(err, failure.ErrRefused) {
		t.Error(err)
	}
	if err := b.refuse(Endpoint{Name: "src"}, Needed{What: "the program", ReadOnly: true}, unknown); err != nil {
		t.Error(err)
	}
}

// TestRefuseFreezeBelow: a loop device stores through the file system of its file,
// however much is made of the device.
func TestRefuseFreezeBelow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	path := looptest.Attach(t, file, 512)
	device, err := emulation.Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	dev := remap.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
	dst := Endpoint{Name: "loop", Dev: dev, Device: device}
	err = RefuseFreeze(here, mountedHere(t, dir), dst, nil)
	if !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), "the destination loop lies on it") {
		t.Error(err)
	}
	if err := RefuseFreeze(here, mountedHere(t, elsewhere), dst, nil); err != nil {
		t.Error(err)
	}
}

func TestBed(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 4096)
	m.Part("sda", "sda1", "8:1", 1, 2048, 2048)
	m.Disk("loop0", "7:0", 4096)
	m.Set("loop0", "loop/backing_file", "/file")
	m.Set("loop0", "loop/offset", "0")
	m.Set("loop0", "loop/sizelimit", "0")
	m.Disk("loop1", "7:1", 4096)
	m.Disk("zloop0", "252:0", 4096)
	m.Mapped("dm-0", "253:0", "on-loop", 8, "loop0")
	m.Mapped("dm-1", "253:1", "on-part", 8, "sda1", "loop1")
	m.Mapped("dm-2", "253:2", "zero", 8)
	for name, want := range map[string]error{
		"sda": nil, "sda1": nil, "loop0": errOpaque, "loop1": nil, "zloop0": errOpaque, "dm-0": errOpaque, "dm-1": nil, "dm-2": nil,
	} {
		b := freezeCheck{sys: m.FS(), dev: remap.Dev{Major: 8, Minor: 99}, seen: make(map[remap.Dev]bool)}
		if err := b.under(m.Dev(name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	b := freezeCheck{sys: m.FS(), dev: remap.Dev{Major: 8, Minor: 99}, seen: make(map[remap.Dev]bool)}
	for dev, want := range map[remap.Dev]error{
		b.dev: errOnIt, {Minor: 17}: nil, {Major: 8, Minor: 1}: nil, {Major: 253}: errOpaque, {Major: 9}: sysblock.ErrGone,
	} {
		if err := b.underMount(dev); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dev, err, want)
		}
	}
}

func TestRefuseFreezing(t *testing.T) {
	src := mountedHere(t, t.TempDir())
	for errno, says := range map[unix.Errno]string{
		unix.EOPNOTSUPP: "does not support freezing: copy a snapshot of it",
		unix.EBUSY:      "is frozen already: wait for whoever did it, or run: fsfreeze --unfreeze " + src.mounted.Point(),
		unix.EPERM:      "permission denied: run as root",
	} {
		err := refuseFreezing(src, fmt.Errorf("freeze /mnt: %w", errno))
		if !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := refuseFreezing(src, fmt.Errorf("freeze /mnt: %w", unix.EIO)); !errors.Is(err, unix.EIO) || errors.Is(err, failure.ErrRefused) {
		t.Error(err)
	}
}
