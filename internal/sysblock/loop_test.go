package sysblock_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// loop makes a loop device on a file.
func loop(t *testing.T, file, offset, limit string) *sysblocktest.Machine {
	m := sysblocktest.New(t)
	m.Disk("loop0", "7:0", 2048)
	m.Set("loop0", "loop/backing_file", file)
	m.Set("loop0", "loop/offset", offset)
	m.Set("loop0", "loop/sizelimit", limit)
	return m
}

// TestLoopFile: of a device that cannot be opened, since there is no node.
func TestLoopFile(t *testing.T) {
	for _, c := range []struct {
		file, offset, limit string
		want                sysblock.LoopFile
		storage             remap.Storage
		note                string
	}{
		{"/a b.img", "0", "0", sysblock.LoopFile{File: "/a b.img"}, remap.Storage{Name: "/a b.img"}, `stored in "/a b.img": `},
		{"/a (deleted)", "1048576", "512", sysblock.LoopFile{File: "/a (deleted)", Offset: 1 << 20, Limit: 512},
			remap.Storage{Name: "/a (deleted)", Start: 2048}, `stored in "/a (deleted)" from byte 1048576 on, 512 bytes of it: `},
		{"/\x1b[1m", "513", "0", sysblock.LoopFile{File: "/\x1b[1m", Offset: 513}, remap.Storage{Name: "/\x1b[1m", Start: 1, Ragged: true}, `"/\x1b[1m"`},
	} {
		m := loop(t, c.file, c.offset, c.limit)
		got, err := m.FS().LoopFile(facts(t, m, "loop0"))
		if err != nil || !reflect.DeepEqual(*got, c.want) || *got.Storage() != c.storage || !strings.Contains(got.Note(), c.note) {
			t.Errorf("%q: %+v, %+v, %q, %v", c.file, got, got.Storage(), got.Note(), err)
		}
	}
}

func TestIdleLoop(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("loop0", "7:0", 0)
	if got, err := m.FS().LoopFile(facts(t, m, "loop0")); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestBadLoop: no file has a default, and a node that is another device's says
// nothing.
func TestBadLoop(t *testing.T) {
	for _, attr := range []string{"offset", "sizelimit"} {
		m := loop(t, "/a", "0", "0")
		m.Set("loop0", "loop/"+attr, "-1")
		if got, err := m.FS().LoopFile(facts(t, m, "loop0")); !errors.Is(err, sysblock.ErrValue) {
			t.Errorf("%s: %+v, %v", attr, got, err)
		}
		m.Unset("loop0", "loop/"+attr)
		if got, err := m.FS().LoopFile(facts(t, m, "loop0")); !errors.Is(err, sysblock.ErrGone) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without %s: %+v, %v", attr, got, err)
		}
	}
	m := loop(t, "", "0", "0")
	if got, err := m.FS().LoopFile(facts(t, m, "loop0")); !errors.Is(err, sysblock.ErrValue) {
		t.Errorf("no name: %+v, %v", got, err)
	}
	m = loop(t, "/a", "0", "0")
	m.File("dev/loop0", "a regular file")
	if got, err := m.FS().LoopFile(facts(t, m, "loop0")); !errors.Is(err, sysblock.ErrGone) {
		t.Errorf("another node: %+v, %v", got, err)
	}
}

// TestLoopIdentity asks the kernel: two devices on one file have one identity, by
// whatever names, and a file that has none any more keeps it.
func TestLoopIdentity(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"file", "another"} {
		if err := os.WriteFile(path(name), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(path("file"), path("link")); err != nil {
		t.Fatal(err)
	}
	loops := make(map[string]*sysblock.LoopFile)
	for _, name := range []string{"file", "link", "another"} {
		node := looptest.Attach(t, path(name), 512)
		if err := os.Remove(path(name)); err != nil {
			t.Fatal(err)
		}
		loops[name] = loopFile(t, node)
	}
	stacked := loopFile(t, looptest.Attach(t, looptest.Attach(t, temp(t), 512), 512))
	if stacked.Block == nil || !strings.HasPrefix(stacked.ID, "block:7:") {
		t.Errorf("a loop device on another: %+v", stacked)
	}
	if loops["file"].ID != loops["link"].ID || loops["file"].ID == loops["another"].ID || !strings.HasPrefix(loops["file"].ID, "file:") {
		t.Errorf("%+v, %+v, %+v", loops["file"], loops["link"], loops["another"])
	}
	if !loops["file"].Storage().Same(loops["link"].Storage()) || loops["file"].Storage().Same(loops["another"].Storage()) {
		t.Error("storage of one file differs, or of two does not")
	}
}

func temp(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func loopFile(t *testing.T, node string) *sysblock.LoopFile {
	t.Helper()
	dev, err := sysblock.FS("").Lookup(node)
	if err != nil {
		t.Fatal(err)
	}
	f, err := sysblock.FS("").Facts(dev)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sysblock.FS("").LoopFile(f)
	if err != nil || l == nil || l.ID == "" {
		t.Fatalf("%s: %+v, %v", node, l, err)
	}
	return l
}
