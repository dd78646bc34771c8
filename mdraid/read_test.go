package mdraid

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/mdraid/mdraidtest"
	"github.com/dmcopy/dmcopy/remap"
)

// tree writes an array into a root directory; disk is that of the array.
func tree(t *testing.T, a *mdraidtest.Array) (root FS, disk string) {
	t.Helper()
	dir := t.TempDir()
	a.Tree(t, dir)
	return FS(dir), filepath.Join(dir, "sys/devices/virtual/block", a.Name)
}

func write(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
		t.Error(err)
	}
}

// Read finds what was written, State the same print.
func TestRead(t *testing.T) {
	for _, lines := range [][]string{
		{"raid1 2 8192 8192", "sda bad_blocks=2058\\s2\\n2070\\s3", "sdb dev=", "sdc"},
		{"raid0 3 640 1664 layout=1 metadata_version=external:/md127/0", "sda size=192"},
		{"none 0 0 0 level= raid_disks= array_state=clear"},
	} {
		f := fixture(t, lines...)
		root, _ := tree(t, f)
		got, err := Read(root, md0)
		if err != nil {
			t.Fatal(err)
		}
		if want := arrayOf(t, f); !reflect.DeepEqual(got, want) {
			t.Errorf("read\n%+v\nwritten\n%+v", got, want)
		}
		state, err := ReadState(root, md0)
		if err != nil || state != (State{Print: got.Print()}) {
			t.Errorf("%+v, %v", state, err)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		stored := new(Array)
		if err := json.Unmarshal(text, stored); err != nil || stored.Check() != nil || stored.Print() != got.Print() {
			t.Errorf("stored as %s: %v, %v", text, err, stored.Check())
		}
	}
}

func TestReadFails(t *testing.T) {
	for name, test := range map[string]struct {
		change func(disk string) error
		want   error
		text   string
	}{
		"no device": {func(disk string) error { return os.RemoveAll(disk) }, ErrGone, "9:0"},
		"not md":    {func(disk string) error { return os.RemoveAll(disk + "/md") }, ErrNotArray, "md0"},
		"no level":  {func(disk string) error { return os.Remove(disk + "/md/level") }, fs.ErrNotExist, "md/level"},
		"no size":   {func(disk string) error { return os.WriteFile(disk+"/size", []byte("-1"), 0o644) }, nil, "size"},
		"no device of a member": {func(disk string) error {
			return os.WriteFile(disk+"/md/dev-sda/block/dev", []byte("sda"), 0o644)
		}, nil, "dev-sda/block/dev"},
		"unreadable": {func(disk string) error {
			return errors.Join(os.Remove(disk+"/md/dev-sda/slot"), os.Mkdir(disk+"/md/dev-sda/slot", 0o755))
		}, syscall.EISDIR, "dev-sda/slot"},
	} {
		t.Run(name, func(t *testing.T) {
			root, disk := tree(t, fixture(t, "raid1 2 8192 8192"))
			if err := test.change(disk); err != nil {
				t.Fatal(err)
			}
			_, err := Read(root, md0)
			_, stateErr := ReadState(root, md0)
			var wrapped *Error
			if err == nil || stateErr == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || !errors.As(err, &wrapped) {
				t.Errorf("%v, %v; want %v and %q", err, stateErr, test.want, test.text)
			}
		})
	}
}

// trap replaces a file by a pipe: while the reader waits for what is in it, for
// the given number of times, change is called; then the file has the value again.
// wait waits until that has happened.
func trap(t *testing.T, path, value string, times int, change func(turn int)) (wait func()) {
	t.Helper()
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for turn := range times {
			pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			// The next time, the reader must not find this pipe.
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
			if turn == times-1 {
				write(t, path, value)
			} else if err := syscall.Mkfifo(path, 0o644); err != nil {
				t.Error(err)
			}
			change(turn)
			if _, err := pipe.WriteString(value + "\n"); err != nil {
				t.Error(err)
			}
			if err := pipe.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	return func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Second): // nobody reads the pipe: let the writer fail
				if pipe, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
					pipe.Close()
				}
				t.Error("the file was not read as often as it should")
			}
		}
	}
}

// A layout that changes between two files is not mixed with the old one.
func TestReadWhileItChanges(t *testing.T) {
	before := fixture(t, "raid5 3 2048 4096 layout=2 chunk_size=32768")
	for name, change := range map[string]func(disk string){
		"pivot": func(disk string) {
			write(t, disk+"/md/layout", "3")
		},
		"file that was read": func(disk string) {
			write(t, disk+"/md/level", "raid6")
		},
		"member": func(disk string) {
			write(t, disk+"/md/dev-sda/slot", "1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, disk := tree(t, before)
			wait := trap(t, disk+"/md/uuid", before.Attrs["uuid"], 1, func(int) { change(disk) })
			got, err := Read(root, md0)
			wait()
			if err != nil {
				t.Fatal(err)
			}
			want, err := Read(root, md0)
			if err != nil || !reflect.DeepEqual(got, want) || got.Print() == arrayOf(t, before).Print() {
				t.Errorf("read\n%+v\nis\n%+v, %v", got, want, err)
			}
		})
	}
}

func TestMemberLeavesWhileRead(t *testing.T) {
	f := fixture(t, "raid1 2 8192 8192")
	root, disk := tree(t, f)
	wait := trap(t, disk+"/md/dev-sda/offset", "2048", 1, func(int) {
		if err := os.RemoveAll(disk + "/md/dev-sda"); err != nil {
			t.Error(err)
		}
	})
	got, err := Read(root, md0)
	wait()
	if err != nil || len(got.Members) != 1 || got.Members[0].Name != "sdb" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUnsteady(t *testing.T) {
	f := fixture(t, "raid1 2 8192 8192")
	for name, read := range map[string]func(FS) error{
		"Read":      func(root FS) error { _, err := Read(root, md0); return err },
		"ReadState": func(root FS) error { _, err := ReadState(root, md0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			root, disk := tree(t, f)
			wait := trap(t, disk+"/md/uuid", f.Attrs["uuid"], tries, func(turn int) {
				write(t, disk+"/md/layout", string(rune('a'+turn)))
			})
			err := read(root)
			wait()
			if !errors.Is(err, ErrUnsteady) {
				t.Error(err)
			}
		})
	}
}

// The number of an array that is stopped may be given to the next one at once.
func TestGoneWhileRead(t *testing.T) {
	f := fixture(t, "raid1 2 8192 8192")
	for name, again := range map[string]bool{"gone": false, "number used again": true} {
		t.Run(name, func(t *testing.T) {
			root, disk := tree(t, f)
			wait := trap(t, disk+"/md/uuid", f.Attrs["uuid"], 1, func(int) {
				link := root.Path("sys/dev/block", f.Dev)
				if err := os.Remove(link); err != nil {
					t.Error(err)
				}
				if again {
					other := *f
					other.Name = "md1"
					other.Tree(t, string(root))
				}
			})
			_, err := Read(root, md0)
			wait()
			if !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		})
	}
}

// What moves in use does not change the print; what the map depends on does.
func TestPrint(t *testing.T) {
	for _, test := range []struct {
		before, after string
		same          bool
	}{
		{"raid1 2 8192 8192", "raid1 2 8192 8192 array_state=active", true},
		{"raid1 2 8192 8192 array_state=write-pending", "raid1 2 8192 8192 array_state=active-idle", true},
		{"raid1 2 8192 8192", "raid1 2 8192 8192 sync_action=check", true},
		{"raid1 2 8192 8192", "raid1 2 8192 8192 degraded=1 suspend_hi=8 bitmap/location=+8", true},
		{"raid1 2 8192 8192\nsdb state=spare recovery_start=0", "raid1 2 8192 8192\nsdb state=spare recovery_start=1024", true},
		{"raid5 3 2048 4096 reshape_position=8", "raid5 3 2048 4096 reshape_position=16", true},
		{"raid5 3 2048 4096 reshape_position=0", "raid5 3 2048 4096", false},
		{"raid5 3 2048 4096 resync_start=0 sync_action=resync", "raid5 3 2048 4096", true},
		{"raid1 2 8192 8192 resync_start=0 sync_action=resync", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192 resync_start=8", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192 sync_action=resync", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192", "raid1 2 8192 8192 array_state=readonly", false},
		{"raid1 2 8192 8192", "raid1 2 8192 8192 array_state=broken", false},
		{"raid1 2 8192 8192", "raid1 2 8192 8192 sync_action=reshape", false},
		{"raid1 2 8192 8192", "raid1 2 8192 8192 sync_action=unheard-of", false},
		{"raid5 3 2048 4096", "raid5 3 2048 4096 layout=2", false},
		{"raid5 3 2048 4096", "raid5 3 2048 4096 journal_mode=write-through", false},
		{"raid1 2 8192 8192", "raid1 2 8192 8190", false},
		{"raid1 2 8192 8192\nsdb state=spare", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192\nsdb bad_blocks=1\\s1", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192\nsdb offset=4096 new_offset=4096", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192\nsdb dev=8:9", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192\nsdb -", "raid1 2 8192 8192", false},
		{"raid1 2 8192 8192\nsdc", "raid1 2 8192 8192", false},
	} {
		before := arrayOf(t, fixture(t, strings.Split(test.before, "\n")...)).Print()
		after := arrayOf(t, fixture(t, strings.Split(test.after, "\n")...)).Print()
		if (before == after) != test.same {
			t.Errorf("%q and %q have the same print: %v", test.before, test.after, before == after)
		}
	}
}

// Whatever is stored was read by this package: nothing else gets in.
func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*Array){
		"name":           func(a *Array) { a.Name = "../md0" },
		"no name":        func(a *Array) { a.Name = "" },
		"size":           func(a *Array) { a.Size = -1 },
		"size too large": func(a *Array) { a.Size = remap.MaxSectors + 1 },
		"no files":       func(a *Array) { a.Attrs = nil },
		"no level":       func(a *Array) { delete(a.Attrs, "level") },
		"other file":     func(a *Array) { a.Attrs["safe_mode_delay"] = "0.2" },
		"escape":         func(a *Array) { a.Attrs["level"] = "\x1b[2J" },
		"long":           func(a *Array) { a.Attrs["level"] = strings.Repeat("x", maxAttr+1) },
		"no slot":        func(a *Array) { delete(a.Members[0].Attrs, "slot") },
		"other of member": func(a *Array) {
			a.Members[0].Attrs["errors"] = "0"
		},
		"member twice": func(a *Array) { a.Members[1] = a.Members[0] },
		"member name":  func(a *Array) { a.Members[1].Name = "z/z" },
		"many members": func(a *Array) { a.Members = make([]Member, maxMembers+1) },
	} {
		a := arrayOf(t, fixture(t, "raid1 2 8192 8192"))
		if err := a.Check(); err != nil {
			t.Fatal(err)
		}
		change(a)
		if err := a.Check(); !errors.Is(err, ErrBadArray) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A list of bad blocks as long as a page may have been cut.
func TestFullBadBlocks(t *testing.T) {
	list := strings.Repeat("3000 8\n", fullList/7)
	for text, want := range map[string]string{list: "0 +8 -> a:2048 b:2048", list + "3000 8": "0 +8 -> a:2048! b:2048"} {
		f := fixture(t, "raid1 2 8192 8192")
		f.Members[0].Attrs["bad_blocks"] = strings.TrimSuffix(text, "\n")
		if got := walk(t, arrayOf(t, f).Layer(), remap.Read, 0, 8); got[0] != want {
			t.Errorf("%d bytes: %q", len(text), got)
		}
	}
}
