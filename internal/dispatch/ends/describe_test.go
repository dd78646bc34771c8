package ends

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

// TestDescribeFiles: a file that is changed or replaced is told from what it was,
// as a source; a destination changes.
func TestDescribeFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	open := func(path string) Endpoint {
		file, err := emulation.Open(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return Endpoint{Name: filepath.Base(path), Device: file}
	}
	write := func(path string) {
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(a)
	write(b)
	look := func(live bool) string {
		plan, ranges, err := Describe(here, open(a), open(b), []byterange.Range{{Len: 4096}}, live)
		if err != nil || len(ranges) != 1 || plan.Ranges.Bytes != 4096 || plan.Source.Size != 4096 || plan.Destination.Name != "b" {
			t.Fatalf("%v, %+v", err, plan)
		}
		return strings.Join([]string{plan.Source.Identity, plan.Source.Version, plan.Destination.Identity, plan.Destination.Version}, "|")
	}
	first, live := look(false), look(true)
	if first == live {
		t.Error("a live source is like one that stands still")
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(b, later, later); err != nil {
		t.Fatal(err)
	}
	if look(false) != first {
		t.Error("the destination has a version")
	}
	if err := os.Chtimes(a, later, later); err != nil {
		t.Fatal(err)
	}
	if look(false) == first || look(true) != live {
		t.Error("a source that was changed is the same")
	}
	write(filepath.Join(dir, "c"))
	if err := os.Rename(filepath.Join(dir, "c"), b); err != nil {
		t.Fatal(err)
	}
	if look(true) == live {
		t.Error("a destination that was replaced is the same")
	}
	old := open(a)
	write(filepath.Join(dir, "d"))
	if err := os.Rename(filepath.Join(dir, "d"), a); err != nil {
		t.Fatal(err)
	}
	_, _, err := Describe(here, old, old, nil, false)
	wantRefusal(t, err, []string{"was replaced by another file"})
}

// TestDescribeDevice: a device is what sysfs says of it.
func TestDescribeDevice(t *testing.T) {
	m := sysblocktest.New(t)
	m.Mapped("dm-0", "253:0", "vg-home", 8)
	m.Set("dm-0", "dm/uuid", "LVM-abc")
	e := Endpoint{Name: "vg/home", Dev: m.Dev("dm-0"), Device: plannedFile{size: 4096}}
	plan, _, err := Describe(m.FS(), e, e, nil, false)
	if err != nil || plan.Source.Identity != "dm:LVM-abc" || plan.Source != plan.Destination {
		t.Errorf("%v, %+v", err, plan)
	}
	// What was copied of a moment, or of many, is no part of a copy of whatever comes later.
	live, _, err := Describe(m.FS(), e, e, nil, true)
	if err != nil || live.Source.Version == plan.Source.Version || live.Destination != plan.Destination {
		t.Errorf("%v, %+v", err, live)
	}
	e.mounted = new(freeze.FileSystem)
	frozen, _, err := Describe(m.FS(), e, e, nil, true)
	if err != nil || frozen.Source.Version == plan.Source.Version || frozen.Source.Version == live.Source.Version || frozen.Destination != plan.Destination {
		t.Errorf("%v, %+v", err, frozen)
	}
}
