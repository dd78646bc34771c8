package ends

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

func TestCreateDestination(t *testing.T) {
	src, err := OpenSource(context.Background(), here, file(t, 10001), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := filepath.Join(t.TempDir(), "new")
	if _, err := OpenDestination(context.Background(), here, path, OpenOptions{}); !errors.Is(err, ErrMissing) {
		t.Fatalf("%v", err)
	}
	// What is refused leaves no file behind.
	_, _, err = CreateDestination(context.Background(), here, path, src, []byterange.Range{{Src: 0, Dst: 1, Len: 0}}, OpenOptions{})
	wantRefusal(t, err, []string{"does not exist", "too small by 1 bytes", "truncate"})
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	dst, ranges, err := CreateDestination(context.Background(), here, path, src, nil, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if dst.Device.Size() != 10001 || len(ranges) != 1 || ranges[0] != (byterange.Range{Src: 0, Dst: 0, Len: 10001}) {
		t.Errorf("%d bytes, ranges %v", dst.Device.Size(), ranges)
	}
	// And never over something that is there.
	if _, _, err := CreateDestination(context.Background(), here, path, src, nil, OpenOptions{}); err == nil {
		t.Error("created twice")
	}
}

// A name that looks like a device is not made a file.
func TestCreateRefuses(t *testing.T) {
	src := fileEnd("f", 512)
	for _, name := range []string{"/dev/nope", "8:99", "novg/nolv", "/dev/novg/nolv"} {
		_, _, err := CreateDestination(context.Background(), here, name, src, nil, OpenOptions{Create: true})
		wantRefusal(t, err, []string{name})
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The file that was made is the destination, and not what has its name afterwards.
func TestCreateSwapped(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new")
	made, err := create(here, name, 4096)
	if err != nil {
		t.Fatal(err)
	}
	end, err := openCreated(t.Context(), here, made)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(end.Close(), os.Rename(name, name+"-away"), os.Symlink(file(t, 4096), name)); err != nil {
		t.Fatal(err)
	}
	_, err = openCreated(t.Context(), here, made)
	wantRefusal(t, err, []string{"was replaced by something else"})
}

// A name that was not found becomes a file only where that is what was meant.
func TestCreateBareNames(t *testing.T) {
	t.Chdir(t.TempDir())
	src := fileEnd("f", 512)
	for _, name := range []string{"sdx", "dm-77", "vg-lv", "two words", "nvme0n1p9"} {
		_, _, err := CreateDestination(t.Context(), here, name, src, nil, OpenOptions{})
		wantRefusal(t, err, []string{name + " cannot be found", "write " + failure.ShellQuote("./"+name) + " or add --create"})
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []struct {
		name string
		opts OpenOptions
	}{{"./sdx", OpenOptions{}}, {"dm-77", OpenOptions{Create: true}}} {
		dst, _, err := CreateDestination(t.Context(), here, c.name, src, nil, c.opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := dst.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What a refused copy has created is removed, and nothing else is.
func TestDiscard(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(name string) error
		stays     bool
	}{
		"as it was":       {func(string) error { return nil }, false},
		"removed":         {os.Remove, false},
		"written to":      {func(name string) error { return os.WriteFile(name, []byte("x"), 0o600) }, true},
		"of another size": {func(name string) error { return os.Truncate(name, 1) }, true},
		"replaced": {func(name string) error {
			return errors.Join(os.Rename(name, name+"-away"), os.WriteFile(name, make([]byte, 4096), 0o600))
		}, true},
		"a link to itself": {func(name string) error {
			return errors.Join(os.Rename(name, name+"-away"), os.Symlink(name+"-away", name))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "new")
			made, err := create(here, name, 4096)
			if err != nil {
				t.Fatal(err)
			}
			dst, err := openCreated(t.Context(), here, made)
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			if err := c.meanwhile(name); err != nil {
				t.Fatal(err)
			}
			_, err = os.Lstat(name)
			there := err == nil
			if removed, err := dst.Discard(); err != nil || removed != (there && !c.stays) {
				t.Errorf("removed: %v, %v", removed, err)
			}
			if _, err := os.Lstat(name); (err == nil) != c.stays {
				t.Errorf("it stays: %v; want %v", err == nil, c.stays)
			}
		})
	}
	// A file that was there before is nobody's to remove.
	there := file(t, 4096)
	dst, err := OpenDestination(t.Context(), here, there, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if removed, err := dst.Discard(); err != nil || removed {
		t.Errorf("removed: %v, %v", removed, err)
	}
	if _, err := os.Lstat(there); err != nil {
		t.Error(err)
	}
}

// A file that somebody else has got hold of stays, whatever becomes of the copy that has made
// it.
func TestDiscardShared(t *testing.T) {
	for name, c := range map[string]struct {
		hold  func(f *blockio.File) error
		stays bool
	}{
		"nobody":                  {func(*blockio.File) error { return nil }, false},
		"a copy to it":            {func(f *blockio.File) error { return f.Locks().ToWrite() }, true},
		"a copy from it":          {func(f *blockio.File) error { return f.Locks().ToRead() }, true},
		"a copy to a place in it": {func(f *blockio.File) error { return f.Locks().Range(512, 512) }, true},
	} {
		for _, locked := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "new")
			made, err := create(here, path, 4096)
			if err != nil {
				t.Fatal(err)
			}
			dst, err := openCreated(t.Context(), here, made)
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			other, err := blockio.Open(path, blockio.Write)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if err := c.hold(other); err != nil {
				t.Fatal(err)
			}
			if err := dst.Device.(regular).Locks().ToWrite(); locked && err != nil && !errors.Is(err, blockio.ErrLocked) {
				t.Fatal(err)
			}
			if removed, err := dst.Discard(); err != nil || removed == c.stays {
				t.Errorf("%s: removed: %v, %v", name, removed, err)
			}
			if _, err := os.Lstat(path); (err == nil) != c.stays {
				t.Errorf("%s: it stays: %v; want %v", name, err == nil, c.stays)
			}
		}
	}
}

// Many copies to one new file at a time: one makes it, and whoever is refused takes it
// away from nobody.
func TestCreatedByMany(t *testing.T) {
	src := fileEnd("f", 4096)
	for range 12 {
		path := filepath.Join(t.TempDir(), "new")
		var copied, made atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				dst, err := OpenDestination(t.Context(), here, path, OpenOptions{})
				if errors.Is(err, ErrMissing) {
					dst, _, err = CreateDestination(t.Context(), here, path, src, nil, OpenOptions{})
				}
				if err != nil {
					if !errors.Is(err, failure.ErrRefused) {
						t.Error(err)
					}
					return
				}
				defer dst.Close()
				if dst.Created() {
					made.Add(1)
				}
				files := FilesOf(src, dst, false, slog.New(slog.DiscardHandler))
				if err := files.Lock([]byterange.Range{{Len: 4096}}); err != nil {
					if !errors.Is(err, failure.ErrRefused) {
						t.Error(err)
					}
					if _, err := dst.Discard(); err != nil {
						t.Error(err)
					}
					return
				}
				copied.Add(1)
				if err := errors.Join(files.Begin(), files.InPlace()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if _, err := os.Lstat(path); copied.Load() > 0 && err != nil {
			t.Errorf("%d copies, made %d times: %v", copied.Load(), made.Load(), err)
		}
	}
}

// A copy of holes writes nothing, and what it has made is a copy all the same.
func TestDiscardCopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	made, err := create(here, path, 4096)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := openCreated(t.Context(), here, made)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	other, err := OpenDestination(t.Context(), here, path, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files := FilesOf(fileEnd("f", 4096), other, false, slog.New(slog.DiscardHandler))
	if err := errors.Join(files.Lock([]byterange.Range{{Len: 4096}}), files.Begin(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if removed, err := dst.Discard(); err != nil || removed {
		t.Errorf("removed: %v, %v", removed, err)
	}
}

// What has lost its name before it was locked is no end of a copy.
func TestLockedAway(t *testing.T) {
	for _, which := range []string{"source", "destination"} {
		src, dst := file(t, 4096), file(t, 4096)
		from, err := OpenSource(t.Context(), here, src, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		to, err := OpenDestination(t.Context(), here, dst, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		if err := os.Remove(map[string]string{"source": src, "destination": dst}[which]); err != nil {
			t.Fatal(err)
		}
		err = FilesOf(from, to, false, slog.New(slog.DiscardHandler)).Lock([]byterange.Range{{Len: 4096}})
		wantRefusal(t, err, []string{"not under its name any more", "try again"})
	}
}

// A plan of a new file knows its size and its file system, and leaves no name.
func TestDraft(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "new")
	dst, ranges, err := CreateDestination(t.Context(), here, name, fileEnd("f", 10001), nil, OpenOptions{Dry: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	var there unix.Stat_t
	if err := unix.Stat(dir, &there); err != nil {
		t.Fatal(err)
	}
	if dst.Name != name || dst.Device.Size() != 10001 || len(ranges) != 1 || dst.File == nil {
		t.Fatalf("%+v, %v", dst, ranges)
	}
	var st unix.Stat_t
	if err := unix.Stat(dst.File.Name, &st); err != nil || st.Dev != there.Dev || fileID(&st) != dst.File.ID {
		t.Errorf("%+v, %v", st, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := dst.Device.WriteAt(make([]byte, 512), 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("it takes writes: %v", err)
	}
}

// What is marked with chattr is said to be, also to root.
func TestImmutable(t *testing.T) {
	for flag, c := range map[int]struct{ mark, says string }{
		immutableFlag: {"immutable", "chattr -i"}, appendFlag: {"append-only", "chattr -a"},
	} {
		name := file(t, 4096)
		mark(t, name, flag)
		_, err := OpenDestination(t.Context(), here, name, OpenOptions{})
		wantRefusal(t, err, []string{name + " is " + c.mark, c.says + " " + name})
	}
	dir := t.TempDir()
	mark(t, dir, immutableFlag)
	_, _, err := CreateDestination(t.Context(), here, filepath.Join(dir, "new"), fileEnd("f", 512), nil, OpenOptions{})
	wantRefusal(t, err, []string{dir + " is immutable", "chattr -i " + dir})
}

// mark marks a file as chattr(1) does, until the end of the test.
func mark(t *testing.T, name string, flag int) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	set := func(flags int) error {
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(flag); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(set(0), f.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Flags of FS_IOC_SETFLAGS (include/uapi/linux/fs.h).
const (
	immutableFlag = 0x10
	appendFlag    = 0x20
)
