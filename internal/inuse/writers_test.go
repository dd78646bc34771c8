package inuse_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

// TestWritersOfThreads: what a thread has open by a table of its own counts, and what is
// left open when the first thread has ended, whose directory is empty then.
func TestWritersOfThreads(t *testing.T) {
	m := sysblocktest.New(t)
	m.File("images/a", "x")
	m.File("images/b", "x")
	m.Process(7, "mnt:[1]", "/", "")
	m.OpensInThread(7, 8, 3, "images/a", 40)
	for name, want := range map[string][]string{"a": {" is open for writing: process 7 (test)"}, "b": nil} {
		uses, err := inuse.FileUsers(m.FS(), filepath.Join(string(m.FS()), "images", name), idAt(t, m, "images/"+name))
		if err != nil {
			t.Fatal(err)
		}
		wantUses(t, texts(uses), want...)
	}
}

// TestWritersByCommands: character devices lead to disks.
func TestWritersByCommands(t *testing.T) {
	for node, links := range map[string]map[string]string{
		"nvme0n1": {"sys/dev/char/1:3": "sys/class/nvme-generic/ng0n1"},
		"sda":     {"sys/dev/char/1:3": "sys/devices/sg/sg0", "sys/devices/sg/sg0/device/block/sda": "sys/class/block/sda"},
		"":        {"sys/dev/char/1:3": "sys/devices/null"},
	} {
		m := sysblocktest.New(t)
		m.NVMe(0, 1, "259:0", 1<<20)
		m.Disk("sda", "8:0", 4096)
		m.Process(7, "mnt:[1]", "/", "")
		m.OpensNode(7, 3, "/dev/null") // 1:3, on every machine
		m.File("sys/devices/null/uevent", "")
		m.File("sys/devices/sg/sg0/dev", "1:3")
		for link, to := range links {
			m.Link(link, to)
		}
		for _, disk := range []string{"nvme0n1", "sda"} {
			var want []string
			if disk == node {
				want = []string{disk + " is open for writing: process 7 (test)"}
			}
			wantUses(t, usesOf(t, m, disk), want...)
		}
	}
}

// another is the test's name for itself as another program, which does something to a
// file until its input ends.
const another = "DMCOPY_TEST_WRITER"

func init() {
	if how := os.Getenv(another); how != "" {
		if err := write(how, os.Args[1]); err != nil {
			fmt.Println(err)
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
}

// write has a file open for writing, in one of the ways of it.
func write(how, path string) error {
	thread := func(f func() error) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			done <- f()
			select {}
		}()
		return <-done
	}
	open := func(flags int) (int, error) { return unix.Open(path, flags, 0) }
	said := func(err error) error {
		if err == nil {
			fmt.Println("ready")
		}
		return err
	}
	switch how {
	case "descriptor":
		_, err := open(unix.O_RDWR)
		return said(err)
	case "thread":
		return said(thread(func() error {
			if err := unix.Unshare(unix.CLONE_FILES); err != nil {
				return err
			}
			_, err := open(unix.O_RDWR)
			return err
		}))
	case "first thread":
		runtime.LockOSThread() // in init, this is the first thread
		_, err := open(unix.O_RDWR)
		if err != nil {
			return err
		}
		go func() {
			stat := "/proc/self/stat"
			for text := ""; !strings.Contains(text, ") Z "); {
				b, err := os.ReadFile(stat)
				if err != nil {
					return
				}
				text = string(b)
			}
			_ = said(nil)
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	case "message":
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		fd, err := open(unix.O_RDWR)
		if err != nil {
			return err
		}
		if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fd), nil, 0); err != nil {
			return err
		}
		return said(unix.Close(fd))
	case "mapping":
		fd, err := open(unix.O_RDWR)
		if err != nil {
			return err
		}
		if _, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			return err
		}
		return said(unix.Close(fd))
	case "lock", "shared lock", "read":
		fd, err := open(unix.O_RDONLY)
		if err != nil {
			return err
		}
		return said(map[string]func() error{
			"lock":        func() error { return unix.Flock(fd, unix.LOCK_EX) },
			"shared lock": func() error { return unix.Flock(fd, unix.LOCK_SH) },
			"read":        func() error { return nil },
		}[how]())
	}
	return syscall.EINVAL
}

// TestWriters: whoever has a file open for writing on this machine is seen, however he
// has it; who only reads it is not in the way.
func TestWriters(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "writer") // the test itself would count as another copy
	if text, err := os.ReadFile("/proc/self/exe"); err != nil || os.WriteFile(program, text, 0o700) != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]inuse.UseKind{
		"read": "", "descriptor": inuse.Opened, "thread": inuse.Opened, "first thread": inuse.Opened,
		"message": inuse.Unseen, "mapping": inuse.Unseen, "lock": inuse.Locked, "shared lock": inuse.LockedRO,
	} {
		t.Run(how, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
				t.Fatal(err)
			}
			stop := begin(t, program, how, path)
			wantKinds(t, path, want)
			stop()
			wantKinds(t, path, "")
		})
	}
}

// begin has another program use a file until it is told to stop.
func begin(t *testing.T, program, how, path string) (stop func()) {
	t.Helper()
	cmd := exec.Command(program, path)
	cmd.Env, cmd.Stderr = append(os.Environ(), another+"="+how), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	if n, err := out.Read(said); string(said[:n]) != "ready\n" {
		t.Fatalf("%q, %v", said[:n], err)
	}
	return func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// wantKinds asks this machine who uses a file.
func wantKinds(t *testing.T, path string, want inuse.UseKind) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	uses, err := inuse.FileUsers(sysblock.FS(""), path, fmt.Sprintf("file:%d:%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []inuse.UseKind
	for _, u := range uses {
		kinds = append(kinds, u.Kind)
	}
	if want == "" && len(uses) > 0 || want != "" && !slices.Equal(kinds, []inuse.UseKind{want}) {
		t.Errorf("%v, want %q", uses, want)
	}
}

// TestOwnDescriptor: what this process has open itself is no use by somebody else.
func TestOwnDescriptor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantKinds(t, path, "")
}

// TestFlocks: of /proc/locks, the locks of whole files count, and not those who wait.
func TestFlocks(t *testing.T) {
	m := sysblocktest.New(t)
	m.File("image", "x")
	m.Process(7, "mnt:[1]", "/", "")
	m.Process(8, "mnt:[1]", "/", "")
	path := filepath.Join(string(m.FS()), "image")
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	where := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	m.File("proc/locks", "1: FLOCK  ADVISORY  WRITE 7 "+where+" 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 8 "+where+" 0 EOF\n"+
		"2: POSIX  ADVISORY  WRITE 8 "+where+" 0 EOF\n3: FLOCK  ADVISORY  READ  8 "+where+"1 0 EOF\n4: LEASE  ACTIVE    READ  8 "+where+" 0 EOF")
	uses, err := inuse.FileUsers(m.FS(), path, idAt(t, m, "image"))
	if err != nil {
		t.Fatal(err)
	}
	wantUses(t, texts(uses), " is locked: process 7 (test)")
	m.File("proc/locks", "1: FLOCK  ADVISORY  WRITE 7 nonsense 0 EOF\n")
	if _, err := inuse.FileUsers(m.FS(), path, idAt(t, m, "image")); err == nil {
		t.Error("a lock that is not understood counts as none")
	}
}
