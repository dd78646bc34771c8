package freeze

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/rerun"
	"github.com/dmcopy/dmcopy/remap"
)

// fakeEnv has a helper freeze nothing: it tells what goes wrong, and where to write
// down what was done.
const fakeEnv = "DMCOPY_TEST_FREEZE"

func TestMain(m *testing.M) {
	role := Helper
	if fake := os.Getenv(fakeEnv); fake != "" {
		role.Run = func(arg string) int { return fakeHelper(fake, arg) }
	}
	rerun.Main(role)
	os.Exit(m.Run())
}

// lake is a file system that is frozen and thawed by word only.
type lake struct {
	done       []string
	cold, warm error // what freezing and thawing come to
}

func (l *lake) freeze() error { l.done = append(l.done, "freeze"); return l.cold }
func (l *lake) thaw() error   { l.done = append(l.done, "thaw"); return l.warm }

func fakeHelper(fake, arg string) int {
	what, file, _ := strings.Cut(fake, " ")
	l := &lake{}
	switch what {
	case "busy":
		l.cold = unix.EBUSY
	case "thawed":
		l.warm = unix.EINVAL
	case "stuck":
		l.warm = unix.EIO
	case "dies":
		fmt.Println(`{"frozen":true}`)
		return 9
	case "babbles":
		fmt.Println(`{"frozen":true}` + "\nwell")
		return 0
	case "silent":
		return 0
	case "slow":
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	limit, err := time.ParseDuration(arg)
	if err == nil {
		err = keep(os.Stdin, os.Stdout, l, limit)
	}
	if file != "" {
		err = errors.Join(err, os.WriteFile(file, []byte(strings.Join(l.done, " ")), 0o600))
	}
	if err != nil {
		return 1
	}
	return 0
}

// here is the file system of a directory of the test.
func here(t *testing.T) *FileSystem {
	t.Helper()
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, remap.Dev{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, remap.Dev{Major: 1 << 19, Minor: 7}); !errors.Is(err, errCovered) {
		t.Errorf("another file system: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none"), remap.Dev{}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no file system: %v", err)
	}
	if f := here(t); f.Dev() == (remap.Dev{}) || f.Point() == "" {
		t.Errorf("%+v", f)
	}
}

// TestKeep: whatever ends it, what was frozen is thawed once, and the parent gets to
// know how it was.
func TestKeep(t *testing.T) {
	const limit = time.Minute
	for name, c := range map[string]struct {
		lake
		parent time.Duration // when it lets go
		after  time.Duration // when it is thawed
		says   []answer
		does   []string
	}{
		"told":       {parent: time.Second, after: time.Second, says: []answer{{Frozen: true}, {}}, does: []string{"freeze", "thaw"}},
		"at once":    {says: []answer{{Frozen: true}, {}}, does: []string{"freeze", "thaw"}},
		"too late":   {parent: time.Hour, after: limit, says: []answer{{Frozen: true}, {Expired: true}}, does: []string{"freeze", "thaw"}},
		"unable":     {lake: lake{cold: unix.EOPNOTSUPP}, parent: time.Hour, says: []answer{{Errno: unix.EOPNOTSUPP}}, does: []string{"freeze"}},
		"unknown":    {lake: lake{cold: io.ErrNoProgress}, parent: time.Hour, says: []answer{{Errno: unix.EIO}}, does: []string{"freeze"}},
		"not frozen": {lake: lake{warm: unix.EINVAL}, says: []answer{{Frozen: true}, {Errno: unix.EINVAL}}, does: []string{"freeze", "thaw"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, order := io.Pipe()
				replies, out := io.Pipe()
				defer time.AfterFunc(c.parent, func() { order.Close() }).Stop()
				began, took := time.Now(), time.Duration(0)
				go func() {
					if err := keep(in, out, &c.lake, limit); err != nil {
						t.Error(err)
					}
					took = time.Since(began)
					out.Close()
				}()
				var says []answer
				for dec := json.NewDecoder(replies); ; {
					var a answer
					if err := dec.Decode(&a); err != nil {
						break
					}
					says = append(says, a)
				}
				if !slices.Equal(says, c.says) || !slices.Equal(c.done, c.does) || took != c.after {
					t.Errorf("says %+v, does %q, after %v", says, c.done, took)
				}
				order.Close()
			})
		})
	}
}

// TestKeepForNobody: a parent that cannot be told anything is gone.
func TestKeepForNobody(t *testing.T) {
	_, out := io.Pipe()
	out.Close()
	l := &lake{}
	if err := keep(strings.NewReader(""), out, l, time.Hour); !errors.Is(err, io.ErrClosedPipe) || !slices.Equal(l.done, []string{"freeze", "thaw"}) {
		t.Errorf("%v, %q", err, l.done)
	}
}

func TestThaw(t *testing.T) {
	for fake, want := range map[string]struct{ freeze, thaw error }{
		"well":    {nil, nil},
		"busy":    {unix.EBUSY, nil},
		"thawed":  {nil, ErrThawed},
		"stuck":   {nil, unix.EIO},
		"dies":    {nil, errLost},
		"babbles": {nil, errLost},
		"silent":  {errLost, nil},
	} {
		t.Run(fake, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "done")
			t.Setenv(fakeEnv, fake+" "+file)
			z, err := here(t).Freeze(context.Background(), time.Hour)
			if !errors.Is(err, want.freeze) {
				t.Fatalf("freeze: %v, want %v", err, want.freeze)
			}
			if err != nil {
				return
			}
			for range 2 {
				if err := z.Thaw(); !errors.Is(err, want.thaw) {
					t.Errorf("thaw: %v, want %v", err, want.thaw)
				}
			}
			if done, err := os.ReadFile(file); fake == "well" && string(done) != "freeze thaw" {
				t.Errorf("%q, %v", done, err)
			}
		})
	}
}

// TestExpires: what is not thawed in time is thawed, and told of.
func TestExpires(t *testing.T) {
	t.Setenv(fakeEnv, "well")
	z, err := here(t).Freeze(context.Background(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	<-z.Thawed()
	if err := z.Thaw(); !errors.Is(err, ErrExpired) || errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

// TestImpatient: who does not want to wait for what is written back gets away, and
// the helper is told.
func TestImpatient(t *testing.T) {
	t.Setenv(fakeEnv, "slow")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if _, err := here(t).Freeze(ctx, time.Hour); !errors.Is(err, errSlow) || !errors.Is(err, why) {
		t.Error(err)
	}
}

// TestKernelRefuses has the kernel say no: files in memory cannot be frozen, and not
// everybody may.
func TestKernelRefuses(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "dmcopy-test-")
	if err != nil {
		dir = t.TempDir()
	}
	defer os.RemoveAll(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.TMPFS_MAGIC {
		t.Logf("%s is of type %#x: only the memory can be relied on not to freeze", dir, st.Type)
		return
	}
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, remap.Dev{Major: unix.Major(s.Dev), Minor: unix.Minor(s.Dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.Freeze(context.Background(), time.Second)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
}
