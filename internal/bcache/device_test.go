package bcache

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// TestReadWhatIsStored: each device of the vectors, as sysfs has it.
func TestReadWhatIsStored(t *testing.T) {
	for _, v := range vectors(t) {
		want := device(t, v.About)
		want.Super = nil
		root := t.TempDir()
		store(t, root, want)
		if want.Backing == nil {
			want.Attrs, want.Attached = map[string]string{}, false
		}
		slices.SortFunc(want.Lower, func(a, b remap.Dev) int { return cmp.Compare(a.Major<<20|a.Minor, b.Major<<20|b.Minor) })
		got, err := Read(sysfs.Root(root), want.Dev)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %+v, %v\nwant %+v", v.Name, got, err, want)
			continue
		}
		state, err := ReadState(sysfs.Root(root), want.Dev)
		if err != nil || state.Print != want.Print() || state.Transition != want.Transition() {
			t.Errorf("%s: state %+v, %v", v.Name, state, err)
		}
	}
}

// TestMissingFiles: no file has a default.
func TestMissingFiles(t *testing.T) {
	for _, attr := range attrs {
		root := t.TempDir()
		store(t, root, clean())
		path := filepath.Join(root, "sys/devices/pci0/block/sdb/bcache", attr)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(sysfs.Root(root), bcache0); !errors.Is(err, os.ErrNotExist) || errors.Is(err, sysfs.ErrGone) {
			t.Errorf("without %s: %v", attr, err)
		}
	}
}

func TestGone(t *testing.T) {
	if _, err := Read(sysfs.Root(t.TempDir()), bcache0); !errors.Is(err, sysfs.ErrGone) {
		t.Errorf("no device: %v", err)
	}
	root := t.TempDir()
	store(t, root, clean())
	if err := os.Remove(filepath.Join(root, "sys/devices/virtual/block/bcache0/bcache")); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(sysfs.Root(root), bcache0); !errors.Is(err, ErrNotBcache) {
		t.Errorf("no link: %v", err)
	}
}

// TestPrint: what changes the map changes the print, and nothing else does.
func TestPrint(t *testing.T) {
	const writeback = "cache_mode writethrough [writeback] writearound none"
	for _, c := range []struct {
		name          string
		before, after []string
		same          bool
	}{
		{"nothing", nil, nil, true},
		{"dirty", nil, []string{"state dirty", "dirty_data 4.0k"}, false},
		{"more dirty", []string{"state dirty", "dirty_data 4.0k"}, []string{"state dirty", "dirty_data 9.5M"}, true},
		{"dirty and clean in mode writeback", []string{writeback}, []string{writeback, "state dirty", "dirty_data 9.5M"}, true},
		{"mode writeback", nil, []string{writeback}, false},
		{"attached", []string{"detached", "state no cache"}, nil, false},
		{"about to be attached", []string{"detached", "state no cache"}, []string{"detached"}, false},
		{"detaching", nil, []string{"state no cache"}, false},
		{"an error", nil, []string{"io_errors 1"}, false},
		{"another error", []string{"io_errors 1"}, []string{"io_errors 2"}, true},
		{"another backing device", nil, []string{"backing 8:48 sdd 2064"}, false},
		{"larger backing device", nil, []string{"backing 8:16 sdb 4096"}, false},
		{"size", nil, []string{"size 4096"}, false},
		{"superblock", nil, []string{"super offset=16"}, true},
	} {
		if same := device(t, c.before).Print() == device(t, c.after).Print(); same != c.same {
			t.Errorf("%s: the same: %v", c.name, same)
		}
	}
}

// TestWanted: a superblock is read where it can make a difference only.
func TestWanted(t *testing.T) {
	d := clean()
	if dev, ok := d.Wanted(); !ok || dev != d.Backing.Dev {
		t.Errorf("%v, %v", dev, ok)
	}
	d.Attrs["state"] = "dirty"
	if _, ok := d.Wanted(); ok {
		t.Error("of a dirty device")
	}
}

// TestImpossible: stored devices that no kernel can have described.
func TestImpossible(t *testing.T) {
	for name, change := range map[string]func(*Device){
		"no name":             func(d *Device) { d.Name = "" },
		"negative size":       func(d *Device) { d.Size = -1 },
		"made of itself":      func(d *Device) { d.Backing.Dev = d.Dev },
		"not made of it":      func(d *Device) { d.Lower = d.Lower[1:] },
		"negative backing":    func(d *Device) { d.Backing.Size = -1 },
		"another file":        func(d *Device) { d.Attrs["label"] = "x" },
		"a long file":         func(d *Device) { d.Attrs["state"] = string(make([]byte, 5000)) },
		"data on the super":   func(d *Device) { d.Super = &Super{UUID: testUUID, Offset: 8} },
		"data beyond sectors": func(d *Device) { d.Super = &Super{UUID: testUUID, Offset: remap.MaxSectors + 1} },
	} {
		d := clean()
		change(d)
		if err := d.Check(); !errors.Is(err, errBadDevice) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkMap is what is true of every map: nothing leaves the part of the backing
// device that is data, and nothing is mapped below a device that is not known
// to be complete there.
func checkMap(t interface {
	Helper()
	Fatalf(string, ...any)
}, d *Device, s, n remap.Sector) {
	t.Helper()
	for _, op := range []remap.Op{remap.Read, remap.Write} {
		p := d.Layer().Map(op, s, n)
		switch {
		case p.Len != n || p.Layer != layerName:
			t.Fatalf("%v: %+v", op, p)
		case p.Kind == remap.Opaque && p.Reason == "" || p.Kind != remap.Opaque && p.Kind != remap.Data:
			t.Fatalf("%v: %+v", op, p)
		case p.Kind == remap.Opaque:
			continue
		}
		if p.Leg.Dev != d.Backing.Dev || p.Leg.Start != s+d.Backing.Size-d.Size || p.Leg.Start < minOffset || p.Leg.Start+n > d.Backing.Size {
			t.Fatalf("%v: %+v of %+v", op, p, d)
		}
		state, mode := d.Attrs["state"], selected(d.Attrs["cache_mode"])
		detached := state == "no cache" && !d.Attached
		if !detached && (op == remap.Write || state != "clean" || !d.Attached || mode == "writeback") || d.Attrs["dirty_data"] != "0.0k" ||
			d.Attrs["running"] != "1" || d.Attrs["io_disable"] != "0" || d.Attrs["io_errors"] != "0" || d.Super.UUID != d.Attrs["backing_dev_uuid"] {
			t.Fatalf("%v: mapped: %+v", op, d)
		}
	}
}

// draw makes a device of words that files have, and of some that they have not.
func draw(t *rapid.T) *Device {
	d := clean()
	word := func(attr string, words ...string) { d.Attrs[attr] = rapid.SampledFrom(words).Draw(t, attr) }
	word("state", "clean", "no cache", "dirty", "inconsistent", "", "Clean")
	word("cache_mode", "[writethrough] writeback writearound none", "writethrough [writeback] writearound none",
		"writethrough writeback [writearound] none", "writethrough writeback writearound [none]", "writethrough writeback writearound none", "")
	word("dirty_data", "0.0k", "0.0k", "0.0k", "0.5k", "3.9T", "-1.0k", "0", "")
	word("running", "1", "1", "1", "0", "2")
	word("io_disable", "0", "0", "0", "1", "")
	word("io_errors", "0", "0", "0", "7", "x")
	word("backing_dev_name", "sdb", "sdb", "sdb", "sdc")
	d.Attached = rapid.Bool().Draw(t, "attached")
	offset := remap.Sector(rapid.Int64Range(minOffset, 64).Draw(t, "offset"))
	d.Size = remap.Sector(rapid.Int64Range(8, 1000).Draw(t, "size"))
	d.Backing.Size = d.Size + offset + remap.Sector(rapid.SampledFrom([]int64{0, 0, 0, 8}).Draw(t, "more"))
	if rapid.IntRange(0, 3).Draw(t, "read") > 0 {
		d.Super = &Super{UUID: rapid.SampledFrom([]string{testUUID, testUUID, "another"}).Draw(t, "uuid"), Offset: offset}
	}
	return d
}

func TestMapIsCareful(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		s := remap.Sector(rapid.Int64Range(0, int64(d.Size)-1).Draw(t, "start"))
		checkMap(t, d, s, remap.Sector(rapid.Int64Range(1, int64(d.Size-s)).Draw(t, "len")))
		stored, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var again Device
		if err := json.Unmarshal(stored, &again); err != nil || !reflect.DeepEqual(&again, d) || again.Print() != d.Print() {
			t.Fatalf("stored: %+v, %v", again, err)
		}
	})
}

// TestEveryFileCounts: no file may hold anything else than what is known.
func TestEveryFileCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := clean()
		d.Super = &Super{UUID: testUUID, Offset: 16}
		attr := rapid.SampledFrom(attrs).Draw(t, "attr")
		before := maps.Clone(d.Attrs)
		d.Attrs[attr] += rapid.StringN(1, 5, -1).Draw(t, "more")
		if p := d.Layer().Map(remap.Read, 0, 1); p.Kind != remap.Opaque {
			t.Fatalf("%s %q read as %q: %+v", attr, d.Attrs[attr], before[attr], p)
		}
	})
}

func FuzzDevice(f *testing.F) {
	for _, v := range vectors(f) {
		text, err := json.Marshal(device(f, v.About))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, int64(0), int64(8))
	}
	f.Fuzz(func(t *testing.T, text []byte, start, length int64) {
		var d Device
		if json.Unmarshal(text, &d) != nil || d.Check() != nil {
			return
		}
		d.Notes()
		d.Print()
		d.Transition()
		d.Below()
		if start >= 0 && length > 0 && start < int64(d.Size) && length <= int64(d.Size)-start {
			checkMap(t, &d, remap.Sector(start), remap.Sector(length))
		}
	})
}
