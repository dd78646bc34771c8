// Package freeze copies file systems that are written to, frozen meanwhile, on a
// real kernel; and ends such copies in every way there is.
package freeze

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

var (
	leaf  = vm.Disk{Serial: "leaf", Size: 1024 * mib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 4096, MSRC: 127}}
	plain = vm.Disk{Bus: vm.BusVirtio, Serial: "plain", Size: 512 * mib}
)

// size is the smallest that mkfs.xfs takes, and a little more.
const size = 320 * mib

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{leaf, plain},
	})
}

// lake is a volume with a file system that is mounted, and another one to copy to.
type lake struct {
	t        *testing.T
	kind     string
	src, dst string
	point    string
}

func newLake(t *testing.T, kind string) *lake {
	disk := vm.Device(t, leaf)
	notes(t)
	vm.Run(t, "vgcreate", "-q", "vg", disk)
	t.Cleanup(func() { vm.Run(t, "vgremove", "-q", "-f", "vg") })
	for _, lv := range []string{"src", "dst"} {
		vm.Run(t, "lvcreate", "-q", "-W", "n", "-L", fmt.Sprintf("%dm", size/mib), "-n", lv, "vg")
	}
	l := &lake{t: t, kind: kind, src: "/dev/vg/src", dst: "/dev/vg/dst", point: t.TempDir()}
	l.format(l.src)
	vm.Run(t, "mount", l.src, l.point)
	t.Cleanup(func() { vm.Run(t, "umount", l.point) })
	return l
}

// notes gives dmcopy a place for its notes that is known to lie elsewhere; what is below
// the root of a guest, an overlay, is not known.
func notes(t *testing.T) {
	const dir = "/var/lib/dmcopy"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	vm.Run(t, "mount", "-t", "tmpfs", "-o", "mode=700", "notes", dir)
	t.Cleanup(func() { vm.Run(t, "umount", dir) })
}

func (l *lake) format(device string) {
	l.t.Helper()
	vm.Run(l.t, "wipefs", "-a", "-q", device)
	if l.kind == "xfs" {
		vm.Run(l.t, "mkfs.xfs", "-q", "-f", device)
	} else {
		vm.Run(l.t, "mkfs.ext4", "-q", "-F", device)
	}
}

// The requests of include/uapi/linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// frozen finds out by freezing, which cannot be done twice: not while somebody else is
// about to.
func (l *lake) frozen() bool {
	l.t.Helper()
	dir, err := os.Open(l.point)
	if err != nil {
		l.t.Fatal(err)
	}
	defer dir.Close()
	err = unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return true
	case err == nil:
		err = unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return false
}

// writer writes one file after the other, each at once as a whole.
type writer struct {
	l       *lake
	written atomic.Int64
	stop    chan struct{}
	ended   chan error
}

// write goes on until it is told to stop.
func (l *lake) write() *writer {
	w := &writer{l: l, stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { w.ended <- w.loop() }()
	return w
}

const perDirectory = 50

func name(i int64) string { return fmt.Sprintf("d%d/f%d", i/perDirectory, i%perDirectory) }

// content is of another length and other bytes for each file.
func content(i int64) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("file %d\n", i)), 1+int(i*977%12000))
}

// most bounds what the file system has to hold.
const most = 4000

func (w *writer) loop() error {
	for i := int64(0); ; i = min(i+1, most) {
		select {
		case <-w.stop:
			return nil
		default:
		}
		if err := w.one(i); err != nil {
			return err
		}
		w.written.Add(1)
	}
}

func (w *writer) one(i int64) error {
	path := filepath.Join(w.l.point, name(i))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	half := filepath.Join(w.l.point, "half")
	if err := os.WriteFile(half, content(i), 0o600); err != nil {
		return err
	}
	if i%8 == 0 { // else it is for the freeze to write back
		f, err := os.Open(half)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return os.Rename(half, path)
}

// goesOn waits until more was written.
func (w *writer) goesOn() {
	w.l.t.Helper()
	before := w.written.Load()
	vm.Eventually(w.l.t, "another file", func() error {
		if n := w.written.Load(); n <= before {
			return fmt.Errorf("%d files are written", n)
		}
		return nil
	})
}

func (w *writer) end() {
	w.l.t.Helper()
	close(w.stop)
	if err := <-w.ended; err != nil {
		w.l.t.Error(err)
	}
}

// check looks at a copy: the file system is whole, and so are the files, of which
// there are from least to most: all that were written before some moment.
func (l *lake) check(device string, least, most int64) {
	t := l.t
	t.Helper()
	point := t.TempDir()
	if l.kind == "xfs" { // its log is replayed by mounting it only
		vm.Run(t, "mount", "-o", "nouuid", device, point)
		vm.Run(t, "umount", point)
		vm.Run(t, "xfs_repair", "-n", device)
		vm.Run(t, "mount", "-o", "nouuid", device, point)
	} else {
		vm.Run(t, "e2fsck", "-f", "-n", device)
		vm.Run(t, "mount", "-o", "ro", device, point)
	}
	defer vm.Run(t, "umount", point)
	n := int64(0)
	for ; ; n++ {
		got, err := os.ReadFile(filepath.Join(point, name(n)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil || !bytes.Equal(got, content(n)) {
			t.Errorf("%s: %d bytes, %v", name(n), len(got), err)
		}
	}
	files := 0
	err := filepath.WalkDir(point, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "half" {
			files++
		}
		return err
	})
	if err != nil || int64(files) != n || n < least || n > most {
		t.Errorf("%d files, the first %d of them without a gap, of %d to %d: %v", files, n, least, most, err)
	}
	t.Logf("%s: %d files, of %d to %d", l.kind, n, least, most)
}

// run runs dmcopy to its end.
func run(t *testing.T, args ...string) (report account.Report, says string, code int) {
	t.Helper()
	cmd := exec.Command("dmcopy", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s%s", err, out.Bytes(), errs.Bytes())
	}
	return report, errs.String(), cmd.ProcessState.ExitCode()
}

// running is a copy that goes on, and does so for long: nothing but what a test does
// to it ends it.
type running struct {
	*exec.Cmd
	errs log
}

// log is what a copy says.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lake) start() *running {
	l.t.Helper()
	r := &running{Cmd: exec.Command("dmcopy", "copy", "--progress", "json", "--freeze", "--freeze-timeout", "1h", "--rate", "64K", l.src, l.dst)}
	r.Stderr = &r.errs
	if err := r.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = r.Process.Kill() })
	vm.Eventually(l.t, "a copy that goes on", func() error {
		if says := r.errs.String(); !strings.Contains(says, `"phase":"copying"`) {
			return fmt.Errorf("it says %q", says)
		}
		return nil
	})
	if !l.frozen() {
		l.t.Error("it is copied, and not frozen")
	}
	return r
}

// thaws waits until it is not frozen.
func (l *lake) thaws() {
	l.t.Helper()
	vm.Eventually(l.t, "thaw", func() error {
		if l.frozen() {
			return errors.New("it is frozen")
		}
		return nil
	})
}

// says waits for the end of a copy, which has to be one with this code and these
// words.
func (r *running) says(t *testing.T, code int, words ...string) {
	t.Helper()
	err := r.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	wants(t, r.ProcessState.ExitCode(), code, r.errs.String(), words...)
}

func wants(t *testing.T, code, want int, says string, words ...string) {
	t.Helper()
	if code != want {
		t.Errorf("exit code %d, want %d: %s", code, want, says)
	}
	for _, word := range words {
		if !strings.Contains(says, word) {
			t.Errorf("%q does not say %q", says, word)
		}
	}
}
