package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// plan is a small copy.
func plan() (Plan, []Range) {
	ranges := []Range{{0, 0, 1 << 20}, {4 << 20, 2 << 20, 1 << 20}}
	return Plan{
		Source:      End{Name: "vg/a", Identity: "dm:LVM-a", Size: 8 << 20},
		Destination: End{Name: "vg/b", Identity: "dm:LVM-b", Size: 8 << 20},
		Ranges:      SumUp(ranges),
	}, ranges
}

func mustOpen(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func closed(t *testing.T, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// begin makes a state file with a part that is done.
func begin(t *testing.T, path string) *File {
	t.Helper()
	f := mustOpen(t, path)
	if f.Unfinished() {
		t.Fatal("nothing was begun yet")
	}
	p, _ := plan()
	f.Begin(p, "/", []string{"copy", "vg/a", "vg/b"})
	err := errors.Join(f.Begun([]Sample{"0011223344556677", Unread}), f.Record([]Extent{{Off: 0, Len: 4096, Status: Done, Method: "host"}}))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFile goes through the life of a state file.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	closed(t, begin(t, path))
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", err, info)
	}
	f := mustOpen(t, path)
	p, ranges := plan()
	p.Source.Name = "/dev/vg/a"
	if !f.Unfinished() {
		t.Fatal("nothing to go on with")
	}
	if err := f.Resume(p, ranges); err != nil {
		t.Fatal(err)
	}
	if err := f.Begun([]Sample{"0011223344556677", "8899aabbccddeeff"}); err != nil {
		t.Fatal(err)
	}
	if want := []Extent{{0, 4096, Done, "host"}}; !slices.Equal(f.Extents(), want) {
		t.Errorf("%+v", f.Extents())
	}
	if err := f.Begun(nil); err != nil {
		t.Error(err)
	}
	if err := f.Begun([]Sample{"ff11223344556677", Unread}); !errors.Is(err, ErrDiffers) {
		t.Errorf("another source: %v", err)
	}
	if err := f.Begun([]Sample{"0011223344556677"}); !errors.Is(err, ErrDiffers) {
		t.Errorf("other samples: %v", err)
	}
	if err := f.Complete(); err != nil {
		t.Fatal(err)
	}
	closed(t, f)
	f = mustOpen(t, path)
	if f.Unfinished() {
		t.Error("there is something to go on with")
	}
	closed(t, f)
	s, err := Read(path)
	if err != nil || s.Stage != Complete || s.Map.Bytes(Done) != 4096 || s.Writer.PID != int64(os.Getpid()) {
		t.Errorf("%v, %+v", err, s)
	}
	if leftovers, err := filepath.Glob(path + "?*"); err != nil || len(leftovers) > 0 {
		t.Errorf("%v, %v", err, leftovers)
	}
}

// TestEmpty: before anything is begun there is nothing to read.
func TestEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := mustOpen(t, path)
	defer closed(t, f)
	if _, err := Read(path); !errors.Is(err, ErrEmpty) || !f.Empty() {
		t.Error(err)
	}
}

// TestUnused: a file that nothing was begun in leaves no trace.
func TestUnused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	closed(t, mustOpen(t, path))
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestRelative: a name without a directory is one here.
func TestRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	closed(t, begin(t, "state"))
	if _, err := Read("state"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", ".", "..", "a/", "a/.."} {
		if f, err := Open(name); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%q: %v, %v", name, f, err)
		}
	}
	if _, err := Open("missing/state"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestForget: what is forgotten is copied again.
func TestForget(t *testing.T) {
	f := begin(t, filepath.Join(t.TempDir(), "state"))
	defer closed(t, f)
	if err := f.Forget(); err != nil || len(f.Extents()) > 0 || !f.Unfinished() {
		t.Errorf("%v, %+v", err, f.Extents())
	}
}

// TestDifferences: a copy between other things is not gone on with, and all that
// differs is named.
func TestDifferences(t *testing.T) {
	f := begin(t, filepath.Join(t.TempDir(), "state"))
	defer closed(t, f)
	for name, c := range map[string]struct {
		change func(*Plan)
		want   string
	}{
		"source":      {func(p *Plan) { p.Source.Identity = "dm:LVM-c" }, "the source was vg/a (dm:LVM-a) and is now vg/a (dm:LVM-c)"},
		"destination": {func(p *Plan) { p.Destination.Identity = "x" }, "the destination was vg/b (dm:LVM-b) and is now vg/b (x)"},
		"size":        {func(p *Plan) { p.Source.Size++ }, "the source had 8388608 bytes and has now 8388609"},
		"version":     {func(p *Plan) { p.Source.Version = "later" }, "the source is not what it was then"},
		"range":       {func(p *Plan) { p.Ranges = SumUp([]Range{{0, 0, 512}}) }, "the ranges were 2 ranges of 2097152 bytes together and are now 0:0:512"},
		"order": {func(p *Plan) { p.Ranges = SumUp([]Range{{4 << 20, 2 << 20, 1 << 20}, {0, 0, 1 << 20}}) },
			"the ranges were others than now, also 2 ranges of 2097152 bytes together"},
		"both": {func(p *Plan) { p.Source.Size, p.Destination.Size = 1, 2 },
			"the source had 8388608 bytes and has now 1; the destination had 8388608 bytes and has now 2"},
	} {
		p, ranges := plan()
		c.change(&p)
		if err := f.Resume(p, ranges); !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBusy: a file belongs to one copy at a time.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := begin(t, path)
	if _, err := Open(path); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	closed(t, f)
	closed(t, mustOpen(t, path))
}

// TestNobodySlipsIn: while the file is replaced again and again, nobody else
// gets hold of it.
func TestNobodySlipsIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := begin(t, path)
	defer closed(t, f)
	over := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := Open(path); !errors.Is(err, ErrBusy) && !errors.Is(err, errReplaced) {
					t.Errorf("another one has it: %v", err)
					return
				}
			}
		})
	}
	for i := range int64(200) {
		if err := f.Record([]Extent{{Off: i * 512, Len: 512, Status: Done}}); err != nil {
			t.Error(err)
		}
	}
	close(over)
	others.Wait()
}

// TestClaimsWhatHasTheName: between opening a file and locking it, its writer may have ended and another one may have put
// a file of its own in its place. Then the lock is one of a file that nobody looks at any more.
func TestClaimsWhatHasTheName(t *testing.T) {
	dir, err := openDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	create := func() *os.File {
		f, err := dir.create("state")
		if err != nil {
			t.Fatal(err)
		}
		return f.(*os.File)
	}
	var at unix.Stat_t
	opened := create()
	defer opened.Close()
	if err := dir.claim(opened, "state", &at); err != nil {
		t.Error(err)
	}
	if err := dir.rename("state", "aside"); err != nil {
		t.Fatal(err)
	}
	if err := dir.claim(opened, "state", &at); !errors.Is(err, errReplaced) {
		t.Errorf("no file has the name: %v", err)
	}
	defer create().Close()
	if err := dir.claim(opened, "state", &at); !errors.Is(err, errReplaced) {
		t.Errorf("another file has the name: %v", err)
	}
}

// TestPredecessor: a writer that lives is minded even if it has lost its lock,
// as on a file system that has none; one whose number belongs to another process
// is not.
func TestPredecessor(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	alive := true
	end := func() {
		if alive {
			alive = false
			child.Process.Kill()
			child.Wait()
		}
	}
	defer end()
	self, err := thisProc.self()
	if err != nil {
		t.Fatal(err)
	}
	writer := Process{PID: int64(child.Process.Pid), Boot: self.Boot}
	if writer.Started, err = thisProc.started(writer.PID); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state")
	open := func(w Process) error {
		s := example()
		s.Writer = w
		if err := os.WriteFile(path, encode(t, s), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			closed(t, f)
		}
		return err
	}
	if err := open(writer); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(child.Process.Pid)) {
		t.Error(err)
	}
	for what, other := range map[string]Process{
		"another start": {writer.PID, writer.Started + 1, writer.Boot}, "another boot": {writer.PID, writer.Started, "other"},
		"nobody": {Boot: writer.Boot}, "this process": self,
	} {
		if err := open(other); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	end()
	if err := open(writer); err != nil {
		t.Error(err)
	}
}

// TestStarted reads what the kernel writes about processes with odd names.
func TestStarted(t *testing.T) {
	const fields = " 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 815 1000 100"
	dir := t.TempDir()
	for i, c := range []struct {
		text string
		want int64
		err  error
	}{
		{"7 (dmcopy) S" + fields, 815, nil},
		{"7 (a) S 1 (b) R" + fields, 815, nil},
		{"7 (dmcopy) Z" + fields, 0, errZombie},
		{"7 (dmcopy) S 1 2 3", 0, errStat},
		{"", 0, errStat},
		{strings.Replace("7 (dmcopy) S"+fields, "815", "x", 1), 0, errStat},
	} {
		at := filepath.Join(dir, strconv.Itoa(i))
		if err := errors.Join(os.Mkdir(at, 0o700), os.WriteFile(filepath.Join(at, "stat"), []byte(c.text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if got, err := proc(dir).started(int64(i)); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q: %d, %v", c.text, got, err)
		}
	}
}

// TestUnsafe: what somebody else could have put there is not opened.
func TestUnsafe(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("good"), encode(t, example()), 0o600); err != nil {
		t.Fatal(err)
	}
	clone := func(name string, mode fs.FileMode) error {
		return errors.Join(os.WriteFile(at(name), encode(t, example()), 0o600), os.Chmod(at(name), mode))
	}
	for name, prepare := range map[string]func() error{
		"link":      func() error { return os.Symlink("good", at("link")) },
		"dangling":  func() error { return os.Symlink("nowhere", at("dangling")) },
		"fifo":      func() error { return unix.Mkfifo(at("fifo"), 0o600) },
		"directory": func() error { return os.Mkdir(at("directory"), 0o700) },
		"group":     func() error { return clone("group", 0o620) },
		"world":     func() error { return clone("world", 0o602) },
		"twice":     func() error { return errors.Join(clone("twice", 0o600), os.Link(at("twice"), at("again"))) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(at(name)); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open("/dev/null"); !errors.Is(err, ErrUnsafe) {
		t.Error(err)
	}
	if _, err := os.Lstat(at("nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a link was followed")
	}
	closed(t, mustOpen(t, at("good")))
}

// TestUnsafeDirectory: where everybody may rename files, the names mean nothing.
func TestUnsafeDirectory(t *testing.T) {
	for mode, safe := range map[fs.FileMode]bool{
		0o700: true, 0o755: true, 0o775: true, 0o777 | fs.ModeSticky: true, 0o777: false, 0o702: false,
	} {
		path := filepath.Join(t.TempDir(), "state")
		if err := errors.Join(os.WriteFile(path, encode(t, example()), 0o600), os.Chmod(filepath.Dir(path), mode)); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if safe != (err == nil) || !safe && !errors.Is(err, ErrUnsafe) {
			t.Errorf("%v: %v", mode, err)
		}
		if err == nil {
			closed(t, f)
		}
	}
}

// TestOthersStay: whatever lies beside the file, by whatever name, stays what it is.
func TestOthersStay(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "state"), filepath.Join(dir, "victim")
	state := string(encode(t, example()))
	files := map[string]string{
		"victim": "mine", "state.new": "precious", "state.new-": state, "state.new-0123456789abcde": state, "state.new-0123456789abcdeg": state,
		"state.new-0123456789ABCDEF": state, "state.new-0123456789abcdef": "precious", "state.new-0123456789abcdee": "",
		"state2.new-0123456789abcdef": state, "state.new-0123456789abcdef0": state,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	others := []string{"state.new-1111111111111111", "state.new-2222222222222222", "state.new-3333333333333333", "state.new-4444444444444444"}
	at := func(i int) string { return filepath.Join(dir, others[i]) }
	running, err := os.OpenFile(at(3), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		defer running.Close()
		_, err = running.WriteString(state)
	}
	err = errors.Join(err, lock(running), os.Symlink(victim, at(0)), os.Mkdir(at(1), 0o700), os.WriteFile(at(2), []byte(state), 0o600), os.Chmod(at(2), 0o620))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, begin(t, path))
	closed(t, mustOpen(t, path))
	for name, text := range files {
		if left, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(left) != text {
			t.Errorf("%s: %v, %q", name, err, left)
		}
	}
	for _, name := range others {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestNeverOver: what has a name already is not replaced by a new file.
func TestNeverOver(t *testing.T) {
	at := t.TempDir()
	dir, err := openDirectory(at)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := os.WriteFile(filepath.Join(at, "taken"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := dir.create("taken"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, %v", f, err)
	}
	if text, err := os.ReadFile(filepath.Join(at, "taken")); err != nil || string(text) != "mine" {
		t.Errorf("%v, %q", err, text)
	}
	if a, b := newName("state"), newName("state"); a == b || !isNewName(a, "state") {
		t.Errorf("%s and %s", a, b)
	}
}

// TestLeftover: what a copy that was killed has left behind is removed by the next
// one that has the file, and by no other.
func TestLeftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	f := begin(t, path)
	leftover := newName(path)
	if err := os.WriteFile(leftover, encode(t, example()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, err := os.Lstat(leftover); err != nil {
		t.Error(err)
	}
	closed(t, f)
	closed(t, mustOpen(t, path))
	if _, err := os.Lstat(leftover); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestNameGivenAway: a file that gets the name while a copy goes on is neither replaced
// nor removed.
func TestNameGivenAway(t *testing.T) {
	for what, use := range map[string]func(*testing.T, *File){
		"before anything is begun": func(*testing.T, *File) {},
		"by the next state": func(t *testing.T, f *File) {
			p, _ := plan()
			f.Begin(p, "/", nil)
			if err := f.Begun(nil); !errors.Is(err, ErrReplaced) {
				t.Errorf("%v", err)
			}
		},
	} {
		dir := t.TempDir()
		path, other := filepath.Join(dir, "state"), filepath.Join(dir, "other")
		f := mustOpen(t, path)
		if err := errors.Join(os.WriteFile(other, []byte("mine"), 0o600), os.Rename(other, path)); err != nil {
			t.Fatal(err)
		}
		use(t, f)
		closed(t, f)
		if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
			t.Errorf("%s: %v, %q", what, err, text)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
			t.Errorf("%s: %v, %v", what, err, names)
		}
	}
	// A file that was removed is written again.
	path := filepath.Join(t.TempDir(), "state")
	f := begin(t, path)
	defer closed(t, f)
	if err := errors.Join(os.Remove(path), f.Record(nil)); err != nil {
		t.Error(err)
	}
}

// TestBroken: a file that is no state, or a broken one, is refused and left as it
// is.
func TestBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	whole := encode(t, example())
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"cut off": {whole[:len(whole)/2], ErrDamaged}, "a map of ddrescue": {[]byte("# Mapfile. Created by GNU ddrescue version 1.27\n"), ErrFormat},
		"newer": {[]byte(magic + "2\n"), ErrVersion},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, c.want) || !strings.HasPrefix(fmt.Sprint(err), path+": ") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Read(path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != string(c.data) {
			t.Errorf("%s: %v, %q", name, err, left)
		}
	}
}
