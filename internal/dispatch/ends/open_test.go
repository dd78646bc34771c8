package ends

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

// here is the machine that the test runs on.
const here = sysblock.FS("")

// testMachine has one device for each thing to refuse.
func testMachine(t *testing.T) *sysblocktest.Machine {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 2048, 2048)
	m.Part("nvme0n1", "nvme0n1p2", "259:2", 2, 4096, 4096)
	m.Mapped("dm-0", "253:0", "vg-home", 2048, "nvme0n1p2")
	m.Mapped("dm-1", "253:1", "vg-frozen", 2048, "nvme0n1p2")
	m.Mapped("dm-2", "253:2", "on-frozen", 2048, "dm-1")
	m.Mapped("dm-3", "253:3", "vg-odd", 2048)
	for name, state := range map[string]string{"dm-0": "0", "dm-1": "1", "dm-2": "0", "dm-3": "maybe"} {
		m.Set(name, "dm/suspended", state)
	}
	m.Disk("sda", "8:0", 4096)
	m.Disk("sdb", "8:16", 4096)
	m.Set("sdb", "ro", "1")
	m.Disk("sdd", "8:48", 0)
	m.Disk("sde", "8:64", 4096)
	m.Disk("sdf", "8:80", 4096)
	m.File("proc/self/mountinfo", `28 1 259:1 / /boot ro - ext4 /dev/nvme0n1p1 ro
29 1 253:0 / /home rw - ext4 /dev/mapper/vg-home rw`)
	m.File("proc/swaps", "Filename Type Size Used Priority\n/dev/sde partition 1 0 -2")
	m.Link("sys/fs/btrfs/0b3d/devices/sdf", "sys/class/block/sdf")
	m.File("dev/directory/file", "text")
	return m
}

func TestOpenRefuses(t *testing.T) {
	m := testMachine(t)
	for name, c := range map[string]struct {
		device string
		// src and dst are what the refusals say; "" if there is none but that
		// the device has no node.
		src, dst []string
	}{
		"missing":            {"nope", []string{"nope cannot be found", "lsblk"}, []string{"nope cannot be found"}},
		"missing volume":     {"vg/nope", []string{"device-mapper name vg-nope"}, []string{"activate"}},
		"no device number":   {"9:9", []string{"cannot be found"}, []string{"cannot be found"}},
		"directory":          {"/dev/directory", []string{"a directory"}, []string{"a directory"}},
		"no medium":          {"sdd", []string{"sdd has a size of 0"}, []string{"size of 0"}},
		"suspended":          {"vg/frozen", []string{"vg/frozen is suspended", "dmsetup resume"}, []string{"is suspended"}},
		"suspended below":    {"on-frozen", []string{"on-frozen rests on dm-1, which is suspended"}, []string{"which is suspended"}},
		"mounted read-only":  {"nvme0n1p1", nil, []string{"it is mounted read-only on /boot (ext4)", "unmount"}},
		"mounted read-write": {"vg/home", []string{"it is mounted read-write on /home (ext4)", "--live-source"}, []string{"it is mounted read-write on /home"}},
		"mounted above":      {"nvme0n1p2", []string{"dm-0 is mounted read-write on /home"}, []string{"is made of it"}},
		"mounted partition":  {"nvme0n1", []string{"dm-0 is mounted read-write"}, []string{"nvme0n1p1 is mounted read-only on /boot"}},
		"held":               {"dm-1", []string{"suspended"}, []string{"suspended"}},
		"read-only":          {"sdb", nil, []string{"sdb is read-only"}},
		"member":             {"sdf", []string{"it belongs to a file system (btrfs 0b3d)"}, []string{"belongs to a file system"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenSource(context.Background(), m.FS(), c.device, OpenOptions{Patience: time.Millisecond})
			wantRefusal(t, err, c.src)
			for _, dry := range []bool{false, true} {
				_, err = OpenDestination(context.Background(), m.FS(), c.device, OpenOptions{Dry: dry, Patience: time.Millisecond})
				wantRefusal(t, err, c.dst)
			}
		})
	}
}

// wantRefusal wants a refusal that says all of it. Nothing to say means that
// the device got as far as being opened: the machine has no nodes.
func wantRefusal(t *testing.T, err error, says []string) {
	t.Helper()
	if says == nil {
		says = []string{"has no node at /dev/"}
	}
	var refusal *failure.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, failure.ErrRefused) {
		t.Errorf("%v is no refusal", err)
		return
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

func TestOpenLiveSource(t *testing.T) {
	m := testMachine(t)
	_, err := OpenSource(context.Background(), m.FS(), "vg/home", OpenOptions{LiveSource: true})
	wantRefusal(t, err, nil)
	_, err = OpenDestination(context.Background(), m.FS(), "vg/home", OpenOptions{LiveSource: true})
	wantRefusal(t, err, []string{"mounted"})
}

// What sysfs says and nobody understands is no answer.
func TestOpenUnknownState(t *testing.T) {
	m := testMachine(t)
	_, err := OpenSource(context.Background(), m.FS(), "dm-3", OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), `"maybe"`) {
		t.Errorf("%v", err)
	}
}

// suspendedOnce has a device suspended for one look, after which something happens.
func suspendedOnce(t *testing.T, m *sysblocktest.Machine, name string, then func()) {
	t.Helper()
	path := filepath.Join(string(m.FS()), "sys/class/block", name, "dm/suspended")
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for who looks
		if err == nil {
			_, err = f.WriteString("1\n")
			err = errors.Join(err, os.WriteFile(path+".new", []byte("0\n"), 0o600), os.Rename(path+".new", path))
			then()
			err = errors.Join(err, f.Close())
		}
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestOpenWaits: a device that is suspended for a moment is waited for, and so is one
// below it, which may be gone afterwards.
// TestOpenInterrupted: whoever is interrupted while an end is opened was not refused.
func TestOpenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	loop := looptest.Attach(t, file(t, 1<<20), 512)
	for name, open := range map[string]func() (Endpoint, error){
		"no end":      func() (Endpoint, error) { return OpenSource(ctx, here, "/dev/null", OpenOptions{}) },
		"source":      func() (Endpoint, error) { return OpenSource(ctx, here, loop, OpenOptions{}) },
		"destination": func() (Endpoint, error) { return OpenDestination(ctx, here, loop, OpenOptions{}) },
	} {
		if _, err := open(); !errors.Is(err, failure.ErrInterrupted) || errors.Is(err, failure.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if err := unopened(here, loop, fmt.Errorf("read: %w", ended)); !errors.Is(err, failure.ErrInterrupted) || errors.Is(err, failure.ErrRefused) {
			t.Errorf("%v: %v", ended, err)
		}
	}
}

func TestOpenWaits(t *testing.T) {
	for what, c := range map[string]struct {
		open string
		then func(m *sysblocktest.Machine)
	}{
		"itself":           {"vg/frozen", func(*sysblocktest.Machine) {}},
		"below":            {"on-frozen", func(*sysblocktest.Machine) {}},
		"gone below":       {"on-frozen", func(m *sysblocktest.Machine) { m.Release("dm-2", "dm-1"); m.Remove("dm-1") }},
		"half gone below":  {"on-frozen", func(m *sysblocktest.Machine) { m.Unset("dm-1", "dm") }},
		"odd for a moment": {"on-frozen", func(m *sysblocktest.Machine) { m.Set("dm-1", "queue/zoned", "x") }},
	} {
		t.Run(what, func(t *testing.T) {
			m := testMachine(t)
			suspendedOnce(t, m, "dm-1", func() { c.then(m) })
			_, err := OpenSource(t.Context(), m.FS(), c.open, OpenOptions{Patience: time.Minute, LiveSource: true})
			wantRefusal(t, err, nil)
		})
	}
}

// TestOpenWaitInterrupted: who waits for a device can be told not to.
func TestOpenWaitInterrupted(t *testing.T) {
	m := testMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	suspendedOnce(t, m, "dm-1", func() { m.Set("dm-1", "dm/suspended", "1"); cancel() })
	if _, err := OpenSource(ctx, m.FS(), "vg/frozen", OpenOptions{}); !errors.Is(err, failure.ErrInterrupted) || !strings.Contains(err.Error(), "dm-1") {
		t.Errorf("%v", err)
	}
}

// TestOpenGone: an end that vanishes while it is looked at is told to be gone, and nothing else.
func TestOpenGone(t *testing.T) {
	m := testMachine(t)
	suspendedOnce(t, m, "dm-1", func() { m.Remove("dm-1") })
	_, err := OpenSource(t.Context(), m.FS(), "vg/frozen", OpenOptions{})
	wantRefusal(t, err, []string{"vg/frozen has disappeared"})
}

// TestOpenOdd: a device that is not read as a whole gets as far as any other.
func TestOpenOdd(t *testing.T) {
	for _, attr := range []string{"size", "queue/zoned", "ro"} {
		m := testMachine(t)
		m.Set("sda", attr, "x")
		_, err := OpenSource(t.Context(), m.FS(), "sda", OpenOptions{})
		wantRefusal(t, err, nil)
		_, err = OpenDestination(t.Context(), m.FS(), "sda", OpenOptions{})
		wantRefusal(t, err, nil)
	}
}

func TestOpenWrongFiles(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/dev/null", t.TempDir(), fifo, ""} {
		_, err := OpenSource(context.Background(), here, name, OpenOptions{})
		wantRefusal(t, err, []string{"cannot be"})
		_, err = OpenDestination(context.Background(), here, name, OpenOptions{})
		wantRefusal(t, err, []string{"cannot be"})
	}
}

// file makes a regular file.
func file(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenFiles(t *testing.T) {
	path := file(t, 10001)
	for name, open := range map[string]func() (Endpoint, error){
		"source":      func() (Endpoint, error) { return OpenSource(context.Background(), here, path, OpenOptions{}) },
		"destination": func() (Endpoint, error) { return OpenDestination(context.Background(), here, path, OpenOptions{}) },
	} {
		end, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !end.Dev.IsZero() || end.Device.Size() != 10001 || end.Name != path {
			t.Errorf("%s: %+v", name, end)
		}
		if err := end.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every errno that opening gives is explained.
func TestRefuseUnopened(t *testing.T) {
	o := opener{name: "/dev/vg/home", path: "/dev/dm-0", facts: &sysblock.Facts{}}
	for errno, text := range map[unix.Errno]string{
		unix.EBUSY:     "exclusively by somebody else: find out who holds it: fuser -v /dev/dm-0",
		unix.EACCES:    "permission denied",
		unix.EPERM:     "permi",
		unix.EROFS:     "read-only",
		unix.ETXTBSY:   "swap",
		unix.ENXIO:     "disappeared",
		unix.ENODEV:    "disappeared",
		unix.ENOMEDIUM: "disappeared",
		unix.ENOENT:    "has no node at /dev/dm-0",
		unix.EEXIST:    "created by somebody else",
	} {
		wantRefusal(t, o.refuseUnopened(errno), []string{"/dev/vg/home", text})
	}
	file := opener{name: "f", path: "f"}
	wantRefusal(t, file.refuseUnopened(unix.ENOENT), []string{"f was removed while it was opened", "try again"})
	if err := o.refuseUnopened(unix.EIO); errors.Is(err, failure.ErrRefused) || !errors.Is(err, unix.EIO) {
		t.Errorf("an I/O error is no refusal: %v", err)
	}
}

func TestOpenLoop(t *testing.T) {
	backing := file(t, 1<<20)
	loop := looptest.Attach(t, backing, 512)

	src, err := OpenSource(context.Background(), here, loop, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if src.Dev.IsZero() || src.Device.Size() != 1<<20 || src.Device.BlockSize() != 512 {
		t.Errorf("%+v", src)
	}
	// Both ends of a copy can be one device. Nobody else can claim it, dry or not.
	dst, err := OpenDestination(context.Background(), here, loop, OpenOptions{Beside: src})
	if err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{false, true} {
		_, err = OpenDestination(context.Background(), here, loop, OpenOptions{Dry: dry})
		wantRefusal(t, err, []string{"it is opened exclusively by somebody else: find out who holds it"})
	}
	_, err = OpenSource(context.Background(), here, loop, OpenOptions{})
	wantRefusal(t, err, []string{"may change while it is read: it is opened exclusively by somebody else", "--live-source"})
	if live, err := OpenSource(context.Background(), here, loop, OpenOptions{LiveSource: true}); err != nil {
		t.Error(err)
	} else if err := live.Close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(src.Close(), dst.Close()); err != nil {
		t.Fatal(err)
	}
	// By other names, and a dry one cannot write.
	dry, err := OpenDestination(context.Background(), here, filepath.Base(loop), OpenOptions{Dry: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dry.Close()
	if _, err := dry.Device.WriteAt(make([]byte, 512), 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("a dry destination takes writes: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(loop, link); err != nil {
		t.Fatal(err)
	}
	linked, err := OpenSource(context.Background(), here, link, OpenOptions{Beside: dry})
	if err != nil {
		t.Fatal(err)
	}
	defer linked.Close()
	if linked.Dev != dry.Dev || linked.Device.ID() != dry.Device.ID() {
		t.Errorf("%v, not %v", linked.Dev, dry.Dev)
	}
	// The storage of the loop device is no destination.
	_, err = OpenDestination(context.Background(), here, backing, OpenOptions{})
	wantRefusal(t, err, []string{"is the storage of " + filepath.Base(loop)})
}

// TestLoopWithoutName: a file is known as the storage of a loop device although nothing
// leads to it any more but what has it open.
func TestLoopWithoutName(t *testing.T) {
	backing := file(t, 1<<20)
	loop := looptest.Attach(t, backing, 512)
	again := backing + ".again"
	if err := errors.Join(os.Link(backing, again), os.Remove(backing)); err != nil {
		t.Fatal(err)
	}
	says := "it is the storage of " + filepath.Base(loop)
	_, err := OpenDestination(t.Context(), here, again, OpenOptions{})
	wantRefusal(t, err, []string{"is in use: " + says, "name " + loop + " instead, unless that is the other end, or run: losetup --detach " + loop})
	_, err = OpenSource(t.Context(), here, again, OpenOptions{})
	wantRefusal(t, err, []string{"may change while it is read: " + says, "--live-source"})
}

// TestInUse: every way in which something is used is told as such, with a way out of it;
// and is the same for a source if it may be written to.
func TestInUse(t *testing.T) {
	m := testMachine(t)
	m.Disk("sdg", "8:96", 4096)
	m.Disk("sdh", "8:112", 4096)
	m.Mapped("dm-4", "253:4", "verified", 4096, "sdh")
	m.Set("dm-4", "ro", "1")
	m.OnBus("sdi", "8:128", "scsi", 4096, "wwid=naa.5000")
	m.OnBus("sdj", "8:144", "scsi", 4096, "wwid=naa.5000")
	m.Part("sdj", "sdj1", "8:145", 1, 8, 8)
	m.File("proc/self/mountinfo", "30 1 8:145 / /mnt rw - ext4 /dev/sdj1 rw")
	m.Process(7, "mnt:[7]", "/", "40 1 8:80 / /in rw - ext4 /dev/sdf rw")
	m.File("sys/kernel/config/target/core/iblock_0/x/enable", "1")
	m.File("sys/kernel/config/target/core/iblock_0/x/info", "Major: 8 Minor: 96  CLAIMED: IBLOCK")
	for name, c := range map[string]struct {
		device   string
		src, dst []string
	}{
		"another namespace": {"sdf", []string{"it is mounted read-write on /in (ext4) in the mount namespace of process 7 (test)"}, []string{"it is mounted read-write on /in", "process 7 (test): unmount it first"}},
		"exported":          {"sdg", []string{"it is exported by the SCSI target: take it out of the configuration of that target first, or accept"}, []string{"is in use: it is exported by the SCSI target"}},
		"held":              {"nvme0n1p2", []string{"dm-0 (vg-home) is made of it: deactivate", "copy that instead", "--live-source"}, []string{"is made of it: deactivate"}},
		"held read-only":    {"sdh", nil, []string{"dm-4 (verified) is made of it"}},
		"another path":      {"sdi", []string{"sdj1 (by sdj, another path to it) is mounted read-write on /mnt"}, []string{"sdj1 (by sdj, another path to it) is mounted"}},
	} {
		_, err := OpenSource(t.Context(), m.FS(), c.device, OpenOptions{})
		wantRefusal(t, err, c.src)
		_, err = OpenDestination(t.Context(), m.FS(), c.device, OpenOptions{})
		wantRefusal(t, err, c.dst)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestSourcesAreOnlyRead: the descriptor of a source cannot write, whoever asks.
func TestSourcesAreOnlyRead(t *testing.T) {
	for _, name := range []string{file(t, 1<<20), looptest.Attach(t, file(t, 1<<20), 512)} {
		src, err := OpenSource(t.Context(), here, name, OpenOptions{LiveSource: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Device.WriteAt(make([]byte, 4096), 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: write: %v", name, err)
		}
		if err := src.Device.Zero(0, 4096); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: zero: %v", name, err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A device that was looked at must be the one that was opened.
func TestOpenReplaced(t *testing.T) {
	loop := looptest.Attach(t, file(t, 1<<20), 512)
	for name, change := range map[string]func(*sysblock.Facts){
		"number":   func(f *sysblock.Facts) { f.Dev.Minor++ },
		"name":     func(f *sysblock.Facts) { f.Name = "loop999" },
		"sequence": func(f *sysblock.Facts) { f.DiskSeq++ },
	} {
		o := opener{sys: here, name: loop}
		if err := o.find(context.Background()); err != nil {
			t.Fatal(err)
		}
		change(o.facts)
		if end, err := o.open(0); !errors.Is(err, failure.ErrRefused) {
			t.Errorf("%s: %v, %v", name, end, err)
		}
	}
}

// swap makes a link lead somewhere else.
func swap(t *testing.T, link, to string) {
	t.Helper()
	if err := errors.Join(os.Remove(link), os.Symlink(to, link)); err != nil {
		t.Fatal(err)
	}
}

// A name can lead to something else from one moment to the next: what is opened is
// what was looked at, or nothing.
func TestOpenSwapped(t *testing.T) {
	const size = 1 << 20
	meant, other := file(t, size), file(t, size)
	link := filepath.Join(t.TempDir(), "link")
	targets := map[string]string{"another file": other, "a device": looptest.Attach(t, file(t, size), 512)}
	for _, to := range targets {
		for _, mode := range []blockio.Mode{0, blockio.Write | blockio.Exclusive} {
			if err := os.Symlink(meant, link); err != nil {
				t.Fatal(err)
			}
			o := opener{sys: here, name: link}
			if err := o.find(t.Context()); err != nil {
				t.Fatal(err)
			}
			swap(t, link, to)
			_, err := o.open(mode)
			wantRefusal(t, err, []string{"was replaced by something else"})
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A link to a device, swapped, changes nothing: the device is opened by its own name.
	if err := os.Symlink(targets["a device"], link); err != nil {
		t.Fatal(err)
	}
	o := opener{sys: here, name: link}
	if err := o.find(t.Context()); err != nil {
		t.Fatal(err)
	}
	swap(t, link, other)
	end, err := o.open(0)
	if err != nil || end.Device.ID() != "block:"+o.facts.Dev.String() {
		t.Fatalf("%+v, %v", end, err)
	}
	if err := end.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenSwap(t *testing.T) {
	m := testMachine(t)
	node := filepath.Join(string(m.FS()), "dev/sde")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(8, 64))); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skipf("nodes need root: %v", err)
	}
	for _, open := range []func(context.Context, sysblock.FS, string, OpenOptions) (Endpoint, error){OpenSource, OpenDestination} {
		_, err := open(context.Background(), m.FS(), "sde", OpenOptions{})
		wantRefusal(t, err, []string{"it is swap space"})
	}
}
