package ends

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

// TestShared: who uses storage that an end lies on by another device is told of, with how
// they share it; and what lies elsewhere on the same disk or file does not matter.
func TestShared(t *testing.T) {
	machine := func(t *testing.T) *sysblocktest.Machine {
		m := sysblocktest.New(t)
		m.NVMe(0, 1, "259:0", 1<<20)
		m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 2048, 2048)
		m.Part("nvme0n1", "nvme0n1p2", "259:2", 2, 4096, 4096)
		m.Disk("sda", "8:0", 4096)
		m.File("image", "")
		for i, offset := range []int{0, 0, 1 << 20} {
			name := fmt.Sprintf("loop%d", 9000+i) // of which this machine has no node
			m.Loop(name, fmt.Sprintf("7:%d", 9000+i), "/image")
			m.Set(name, "loop/offset", fmt.Sprint(offset))
		}
		return m
	}
	mount := func(name, dev, how string) string {
		return fmt.Sprintf("30 1 %s / /mnt %s - ext4 /dev/%s %s", dev, how, name, how)
	}
	const onImage = "loop9000, which shares sectors of /image with it, is mounted read-"
	for name, c := range map[string]struct {
		use      func(m *sysblocktest.Machine)
		end      string
		src, dst []string
	}{
		"another loop device on its file": {func(m *sysblocktest.Machine) { m.File("proc/self/mountinfo", mount("loop9000", "7:9000", "rw")) }, "loop9001",
			[]string{"may change while it is read: " + onImage + "write on /mnt", "--live-source"}, []string{"is in use: " + onImage + "write on /mnt (ext4): unmount it first"}},
		"the same, read-only": {func(m *sysblocktest.Machine) { m.File("proc/self/mountinfo", mount("loop9000", "7:9000", "ro")) }, "loop9001",
			nil, []string{onImage + "only on /mnt"}},
		"elsewhere in its file": {func(m *sysblocktest.Machine) { m.File("proc/self/mountinfo", mount("loop9000", "7:9000", "rw")) }, "loop9002", nil, nil},
		"a mapped device on its disk that is not understood": {func(m *sysblocktest.Machine) {
			m.Mapped("dm-0", "253:0", "odd", 512, "sda")
			m.Mapped("dm-1", "253:1", "beside", 512, "sda")
			m.File("proc/self/mountinfo", mount("dm-0", "253:0", "rw"))
		}, "dm-1", []string{"dm-0 (odd), which shares sectors of sda with it, is mounted read-write"}, []string{"dm-0 (odd), which shares sectors of sda"}},
		"a disk below it": {func(m *sysblocktest.Machine) {
			m.Mapped("dm-0", "253:0", "odd", 512, "sda")
			m.File("proc/self/mountinfo", mount("sda", "8:0", "rw"))
		}, "dm-0", []string{"sda, on which it rests, is mounted read-write on /mnt"}, []string{"sda, on which it rests, is mounted"}},
		"a mapped device on another partition": {func(m *sysblocktest.Machine) {
			m.Mapped("dm-0", "253:0", "odd", 512, "nvme0n1p1")
			m.File("proc/self/mountinfo", mount("dm-0", "253:0", "rw"))
		}, "nvme0n1p2", nil, nil},
		"a mapped device that is not known where it lies": {func(m *sysblocktest.Machine) {
			m.Mapped("dm-0", "253:0", "odd", 512)
			m.Unset("dm-0", "slaves")
			m.File("proc/self/mountinfo", mount("dm-0", "253:0", "rw"))
		}, "sda", []string{"dm-0 (odd), of which it is not known where it lies, is mounted"}, []string{"of which it is not known where it lies"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t)
			c.use(m)
			_, err := OpenSource(t.Context(), m.FS(), c.end, OpenOptions{})
			wantRefusal(t, err, c.src)
			_, err = OpenDestination(t.Context(), m.FS(), c.end, OpenOptions{})
			wantRefusal(t, err, c.dst)
			_, err = OpenSource(t.Context(), m.FS(), c.end, OpenOptions{LiveSource: true})
			wantRefusal(t, err, nil)
		})
	}
}

// TestSharedLoops: on this machine, where two loop devices share a file, one of which is open
// for writing.
func TestSharedLoops(t *testing.T) {
	backing := file(t, 1<<20)
	one, two := looptest.Attach(t, backing, 512), looptest.Attach(t, backing, 512)
	for name, c := range map[string]struct{ opened, says string }{
		"the other one": {one, filepath.Base(one) + ", which shares sectors of " + backing + " with it, open for writing"},
		"the file":      {backing, "(sh) has the file that it is stored in open for writing"},
	} {
		end := opened(t, c.opened)
		_, err := OpenSource(t.Context(), here, two, OpenOptions{})
		wantRefusal(t, err, []string{"may change while it is read", c.says})
		_, err = OpenDestination(t.Context(), here, two, OpenOptions{})
		wantRefusal(t, err, []string{"is in use", c.says, "end that process first"})
		end()
		if t.Failed() {
			t.Fatal(name)
		}
	}
	dst, err := OpenDestination(t.Context(), here, two, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, dst)
}

// TestSharedWithLVM: a command of LVM that has the device below open for writing is waited for, and
// nobody is told to end it.
func TestSharedWithLVM(t *testing.T) {
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	lvm := filepath.Join(t.TempDir(), "lvm")
	if err := os.WriteFile(lvm, shell, 0o700); err != nil {
		t.Fatal(err)
	}
	backing := file(t, 1<<20)
	one, two := looptest.Attach(t, backing, 512), looptest.Attach(t, backing, 512)
	end := openedBy(t, lvm, one)
	_, err = OpenDestination(t.Context(), here, two, OpenOptions{Patience: time.Millisecond})
	wantRefusal(t, err, []string{"is in use", "(lvm) has ", "wait until that command of LVM has ended"})
	end()
	long := sharing{&opener{patience: time.Hour}}
	sh, command := sharer{}, sharer{Use: inuse.Use{LVM: true}}
	for _, c := range []struct {
		found []sharer
		want  time.Duration
	}{{[]sharer{command}, time.Hour}, {[]sharer{command, sh}, sharerPatience}, {[]sharer{sh}, sharerPatience}} {
		if got := long.patienceFor(c.found); got != c.want {
			t.Errorf("%v: %v, want %v", c.found, got, c.want)
		}
	}
}

// opened has another program open something for writing until it is told to end.
func opened(t *testing.T, path string) (end func()) {
	t.Helper()
	return openedBy(t, "sh", path)
}

func openedBy(t *testing.T, shell, path string) (end func()) {
	t.Helper()
	cmd := exec.Command(shell, "-c", `exec 5<>"$0"; echo; read line`, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { in.Close(); cmd.Wait() }
}

// TestTaken: who builds on a destination while it is written is noticed in the end.
func TestTaken(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	loop := looptest.Attach(t, file(t, 1<<20), 512)
	for _, name := range []string{file(t, 1<<20), loop} {
		dst, err := OpenDestination(t.Context(), here, name, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := dst.StillUnused(t.Context(), log); err != nil {
			t.Errorf("nobody has taken %s: %v", name, err)
		}
		end := opened(t, name) // for a moment, it may be
		if err := dst.StillUnused(t.Context(), log); err != nil {
			t.Errorf("opened: %v", err)
		}
		end()
		upper := looptest.Attach(t, name, 512)
		err = dst.StillUnused(t.Context(), log)
		if !errors.Is(err, failure.ErrTaken) || !strings.Contains(err.Error(), "it is the storage of "+filepath.Base(upper)) || !strings.Contains(err.Error(), name) {
			t.Errorf("taken: %v", err)
		}
		closed(t, dst)
	}
}

// TestFilesWithoutSys: without /sys nobody knows who has built on a file.
func TestFilesWithoutSys(t *testing.T) {
	m := sysblocktest.New(t)
	path := file(t, 4096)
	m.File(path, "it is a file below that root as well")
	if err := os.RemoveAll(filepath.Join(string(m.FS()), "sys")); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDestination(t.Context(), m.FS(), path, OpenOptions{})
	wantRefusal(t, err, []string{path + " cannot be looked at: /sys is not there", "mount -t sysfs"})
	_, err = OpenSource(t.Context(), m.FS(), path, OpenOptions{})
	wantRefusal(t, err, []string{"/sys is not there"})
	live, err := OpenSource(t.Context(), m.FS(), path, OpenOptions{LiveSource: true})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, live)
}

// TestSourceStaysUnwritten: who may write to a source by the end of a copy, and could not before, is
// told of. Who has it open for writing shows in its times if he writes.
func TestSourceStaysUnwritten(t *testing.T) {
	for _, c := range []struct {
		name string
		use  func(m *sysblocktest.Machine)
		end  string
		want string
	}{
		{"nobody", func(*sysblocktest.Machine) {}, "/file", ""},
		{"swap", func(m *sysblocktest.Machine) {
			m.File("proc/swaps", "Filename Type Size Used Priority\n/file file 1 0 -2")
		}, "/file", "it is swap space: run swapoff, and copy again"},
		{"a loop device", func(m *sysblocktest.Machine) { m.Loop("loop9000", "7:9000", "/file") }, "/file", "it is the storage of loop9000"},
		{"a loop device for reading", func(m *sysblocktest.Machine) {
			m.Loop("loop9000", "7:9000", "/file")
			m.Set("loop9000", "ro", "1")
		}, "/file", ""},
		{"a mount", func(m *sysblocktest.Machine) {
			m.File("proc/self/mountinfo", "30 1 8:0 / /mnt rw - ext4 /dev/sda rw")
		}, "sda", "it is mounted read-write on /mnt (ext4)"},
		{"a mount for reading", func(m *sysblocktest.Machine) {
			m.File("proc/self/mountinfo", "30 1 8:0 / /mnt ro - ext4 /dev/sda ro")
		}, "sda", ""},
		{"a mount of what it lies on", func(m *sysblocktest.Machine) {
			m.Mapped("dm-0", "253:0", "odd", 512, "sda")
			m.File("proc/self/mountinfo", "30 1 8:0 / /mnt rw - ext4 /dev/sda rw")
		}, "dm-0", "sda, on which it rests, is mounted read-write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sysblocktest.New(t)
			m.Disk("sda", "8:0", 4096)
			m.File("file", "text")
			c.use(m)
			o := &opener{sys: m.FS(), name: c.end, path: filepath.Join(string(m.FS()), c.end)}
			var err error
			if c.end == "/file" {
				err = o.findFile()
			} else {
				o.facts, err = m.FS().Facts(m.Dev(c.end))
			}
			if err != nil {
				t.Fatal(err)
			}
			err = sharing{o}.stillUnwritten(t.Context(), slog.New(slog.DiscardHandler))
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, failure.ErrSourceChanged) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
