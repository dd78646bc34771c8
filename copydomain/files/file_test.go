package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

func nameOf(t testing.TB, path string) Name {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return Name{path, fmt.Sprintf("file:%d:%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)}
}

func written(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOpenOthers: nothing is opened but the file that is meant.
func TestOpenOthers(t *testing.T) {
	mine, other := written(t, pattern(unit, 1)), written(t, pattern(unit, 2))
	name := nameOf(t, mine)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		other: ErrChanged, fifo: ErrNotRegular, filepath.Dir(mine): ErrNotRegular, mine + " (deleted)": fs.ErrNotExist, "/dev/null": ErrNotRegular,
	} {
		wrong := Name{path, name.ID}
		if _, err := Look(wrong); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
		for _, pair := range [][2]Name{{wrong, name}, {name, wrong}} {
			if p, err := Open(pair[0], pair[1]); !errors.Is(err, want) || p != nil {
				t.Errorf("%v: %v", pair, err)
			}
		}
	}
}

// TestPair makes the calls on files of this machine, whatever they are on: it need
// not be able to share blocks, but then it has to say so.
func TestPair(t *testing.T) {
	content := pattern(3*page, 1)
	src, dst := written(t, content), written(t, pattern(3*page, 2))
	p, err := Open(nameOf(t, src), nameOf(t, dst))
	if err != nil {
		t.Fatal(err)
	}
	if a, b, err := p.Sizes(); a != 3*page || b != 3*page || err != nil {
		t.Errorf("sizes %d, %d: %v", a, b, err)
	}
	if n, err := p.CopyRange(Move{0, 0, 3 * page}, nil); err != nil || n != 3*page {
		t.Errorf("copied %d: %v", n, err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, content) {
		t.Errorf("wrong bytes: %v", err)
	}
	if n, err := p.CopyRange(Move{page, 0, page}, boottime.Now); n != 0 || !errors.Is(err, boottime.ErrPassed) {
		t.Errorf("copied %d too late: %v", n, err)
	}
	if err := p.Clone(Move{page, 0, page}, boottime.Now); !errors.Is(err, boottime.ErrPassed) {
		t.Errorf("cloned too late: %v", err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, content) {
		t.Errorf("wrong bytes: %v", err)
	}
	if err := p.Clone(Move{0, 0, 0}, nil); !errors.Is(err, blocks.ErrInvalid) {
		t.Errorf("clone of nothing: %v", err)
	}
	if err := p.Clone(Move{0, page, page}, nil); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("clone: %v", err)
	}
	if err := errors.Join(p.Settle(), p.Sync(), p.Close()); err != nil {
		t.Error(err)
	}
	if err := p.Close(); !errors.Is(err, unix.EBADF) {
		t.Errorf("closed twice: %v", err)
	}
	a, err := Look(nameOf(t, src))
	if err != nil || a.Type == "" || (a.Method == None) != (a.Reason != "") || (a.Method == None) != (a.Block == 0) {
		t.Errorf("%+v, %v", a, err)
	}
	t.Logf("%+v", a)
}

// TestNoCopyThroughMemory: a file system that has no copy of its own is left alone,
// although copy_file_range succeeds there.
func TestNoCopyThroughMemory(t *testing.T) {
	file, err := os.CreateTemp("/dev/shm", "dmcopy-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file.Name())
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := Look(nameOf(t, file.Name()))
	if err != nil || f.Type != "tmpfs" || f.Method != None || f.Reason != ReasonFileSystem || !strings.Contains(f.Detail, "tmpfs") {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestBlocks(t *testing.T) {
	for _, block := range []uint32{0, 1, 511, 3000, 1 << 21} {
		f := FileSystem{Type: "xfs"}
		if f.clones(block); f.Method != None || f.Reason == "" {
			t.Errorf("%d: %+v", block, f)
		}
	}
	for _, block := range []uint32{512, 4096, 65536, 1 << 20} {
		f := FileSystem{Type: "xfs"}
		if f.clones(block); f.Method != Clone || f.Block != int(block) {
			t.Errorf("%d: %+v", block, f)
		}
	}
}

func TestSpan(t *testing.T) {
	none := FileSystem{Type: "ext4", Name: "8:1", Reason: ReasonFileSystem, Detail: "no"}
	another := sharing
	another.Name = "y"
	for _, c := range []struct {
		src, dst FileSystem
		method   Method
		reason   string
	}{
		{sharing, sharing, Clone, ""}, {serving, serving, CopyRange, ""},
		{sharing, another, None, ReasonOtherSystem}, {sharing, serving, None, ReasonOtherSystem},
		{none, sharing, None, ReasonFileSystem}, {sharing, none, None, ReasonFileSystem}, {none, none, None, ReasonFileSystem},
	} {
		if f := Span(c.src, c.dst); f.Method != c.method || f.Reason != c.reason || (f.Reason != "") != (f.Detail != "") {
			t.Errorf("%+v to %+v: %+v", c.src, c.dst, f)
		}
	}
}

const mounts = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
61 22 0:52 / /a rw,relatime - nfs4 server:/a rw,vers=4.2,rsize=1048576
62 22 0:53 / /b rw,relatime shared:9 - nfs4 server:/b rw,vers=4.1,rsize=1048576
63 22 0:54 / /c rw,relatime - nfs server:/c rw,vers=3
64 22 0:55 / /d rw,relatime - nfs4 server:/d rw,vers=4.20
65 22 0:52 /x /e rw,relatime - nfs4 server:/a rw,vers=4.2
66 22 0:56 / /f rw,relatime - nfs4 server:/f\040-\040nfs4 rw,vers=4.2
`

func TestCopiesNFS(t *testing.T) {
	understood, err := sysfs.ParseMounts(strings.NewReader(mounts))
	if err != nil {
		t.Fatal(err)
	}
	for dev, want := range map[string]bool{
		"0:52": true, "0:53": false, "0:54": false, "0:55": false, "0:56": true, "254:1": false, "0:99": false, "": false,
	} {
		if got := copiesNFS(understood, dev); got != want {
			t.Errorf("%s: %v", dev, got)
		}
	}
}

func FuzzCopiesNFS(f *testing.F) {
	f.Add(mounts, "0:52")
	f.Add("65 22 0:52 /x /e rw - nfs4", "0:52")
	f.Add(" - ", "")
	f.Fuzz(func(t *testing.T, text, dev string) {
		understood, err := sysfs.ParseMounts(strings.NewReader(text))
		if err == nil && copiesNFS(understood, dev) && !strings.Contains(text, "vers=4.2") {
			t.Errorf("%q", text)
		}
	})
}
