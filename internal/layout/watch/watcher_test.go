package watch

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

var quiet = slog.New(slog.DiscardHandler)

// fake is a source that a test talks through: a pipe.
type fake struct {
	fd     int
	answer func() (bool, error)
	closed bool
}

func (f *fake) name() string      { return "fake" }
func (f *fake) poll() unix.PollFd { return unix.PollFd{Fd: int32(f.fd), Events: unix.POLLIN} }
func (f *fake) Close() error      { f.closed = true; return nil }
func (f *fake) event(s scope) (bool, error) {
	if _, err := unix.Read(f.fd, make([]byte, 1)); err != nil {
		return false, err
	}
	return f.answer()
}

// listen makes a Watcher with nothing but a fake source, and what talks to it.
func listen(t *testing.T, root sysfs.Root, answer func() (bool, error)) (w *Watcher, f *fake, say func()) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w = &Watcher{
		root: root, log: quiet, events: make(chan struct{}, 1),
		orders: make(chan []remap.Dev, 1), taken: make(chan struct{}), ended: make(chan struct{}), counts: make(map[string]int64),
	}
	f = &fake{fd: p[0], answer: answer}
	w.add("fake", func() (source, error) { return f, nil })
	w.add("missing", func() (source, error) { return nil, errors.New("not there") })
	var err error
	if w.waker, err = newWaker(); err != nil {
		t.Fatal(err)
	}
	go w.run()
	t.Cleanup(func() {
		for _, fd := range p {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	})
	return w, f, func() {
		if _, err := unix.Write(p[1], []byte{0}); err != nil {
			t.Error(err)
		}
	}
}

// done closes the Watcher, after which nothing of it is left.
func done(t *testing.T, w *Watcher) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-w.ended:
	default:
		t.Error("it goes on")
	}
}

func TestWakes(t *testing.T) {
	answers := make(chan bool, 8)
	w, f, say := listen(t, sysfs.Root(t.TempDir()), func() (bool, error) { return <-answers, nil })
	answers <- true
	say()
	<-w.Events()
	answers <- false
	say()
	w.Follow(nil) // which is taken after what was said
	select {
	case <-w.Events():
		t.Error("an event of another device was passed on")
	default:
	}
	for range 3 {
		answers <- true
		say()
	}
	for len(w.Counts()) == 0 || w.Counts()["fake"] < 4 {
		w.Follow(nil)
	}
	<-w.Events()
	select {
	case <-w.Events():
		t.Error("there is more than one token")
	default:
	}
	done(t, w)
	if !f.closed {
		t.Error("the source is still open")
	}
}

// TestSourceFails: the end of a source is one event.
func TestSourceFails(t *testing.T) {
	w, f, say := listen(t, sysfs.Root(t.TempDir()), func() (bool, error) { return false, unix.ENODEV })
	say()
	say() // nobody listens any more
	<-w.Events()
	w.Follow(nil)
	if n := w.Counts()["fake"]; n != 1 {
		t.Errorf("woken %d times", n)
	}
	done(t, w)
	if !f.closed {
		t.Error("the source is still open")
	}
}

// TestCloseWhileBusy: it ends although there is always something to tell.
func TestCloseWhileBusy(t *testing.T) {
	var say func()
	w, _, say := listen(t, sysfs.Root(t.TempDir()), func() (bool, error) { say(); return true, nil })
	say()
	<-w.Events()
	w.Follow([]remap.Dev{{Major: 9}})
	done(t, w)
}

// attributes makes a directory with an array and a mapped device.
func attributes(t *testing.T) (root sysfs.Root, array, mapped remap.Dev) {
	root = sysfs.Root(t.TempDir())
	for name, text := range map[string]string{"9:1/md/array_state": "clean\n", "9:1/md/degraded": "0\n", "253:1/dm/name": "x\n", "259:0/size": "8\n"} {
		file := root.Path("sys/dev/block", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root, remap.Dev{Major: 9, Minor: 1}, remap.Dev{Major: 253, Minor: 1}
}

// TestConcern: a Watcher listens to the arrays that it is for, and no others.
func TestConcern(t *testing.T) {
	root, array, mapped := attributes(t)
	w := &Watcher{root: root, log: quiet}
	for _, tc := range []struct {
		devs   []remap.Dev
		arrays int
		mapped bool
	}{
		{[]remap.Dev{array, mapped}, 2, true},
		{[]remap.Dev{array}, 2, false},
		{[]remap.Dev{{Major: 259}, mapped, {Major: 8}}, 0, true},
		{nil, 0, false},
	} {
		w.follow(tc.devs)
		if len(w.sources) != tc.arrays || w.scope.mapped != tc.mapped {
			t.Errorf("%v: %d files of arrays, mapped: %v", tc.devs, len(w.sources), w.scope.mapped)
		}
	}
}

// TestAttribute: a file that says what it said before is no event.
func TestAttribute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "array_state")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("clean\n")
	a, err := openAttribute(file)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, tc := range []struct {
		text string
		want bool
	}{{"clean\n", false}, {"active\n", true}, {"active\n", false}, {"clean\n", true}} {
		write(tc.text)
		if got, err := a.event(scope{}); got != tc.want || err != nil {
			t.Errorf("%q: %v, %v", tc.text, got, err)
		}
	}
	if _, err := openAttribute(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestNothingIsLeft: what this machine has to listen to is closed by exec, so that
// no helper keeps it, and by Close, after which no goroutine is left.
func TestNothingIsLeft(t *testing.T) {
	before, routines := descriptors(t), runtime.NumGoroutine()
	w, err := Open("", quiet)
	if err != nil {
		t.Fatal(err)
	}
	w.Follow([]remap.Dev{{Major: 8}})
	for fd := range descriptors(t) {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if _, old := before[fd]; !old && (err != nil || flags&unix.FD_CLOEXEC == 0) {
			t.Errorf("descriptor %d would be kept: %v", fd, err)
		}
	}
	done(t, w)
	for fd, of := range descriptors(t) {
		if _, old := before[fd]; !old {
			t.Errorf("descriptor %d is left: %s", fd, of)
		}
	}
	for runtime.NumGoroutine() > routines { // one that has said that it ends needs a moment
		time.Sleep(time.Millisecond)
	}
}

// descriptors are those of this process, without the one that lists them and those
// of the runtime.
func descriptors(t *testing.T) map[int]string {
	t.Helper()
	found := make(map[int]string)
	for fd := range 256 {
		of, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(fd)))
		if err == nil && !strings.Contains(of, "[eventpoll]") {
			found[fd] = of
		}
	}
	return found
}
