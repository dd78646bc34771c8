package layout_test

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// menagerie is a machine with a device of every kind that is read in a way of its own.
func menagerie(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.OnBus("sda", "8:0", "scsi", 1<<20, "wwid=naa.5000", "model=Disk", "serial=1")
	r.Multipath(7, 1, "259:9", 1<<20, "nvme8", "nvme9")
	r.Part("sda", "sda1", "8:1", 1, 2048, 1<<19)
	r.Disk("loop1", "7:1", 2048)
	r.Set("loop1", "loop/backing_file", "/srv/disk.img")
	r.Set("loop1", "loop/offset", "1048576")
	r.Set("loop1", "loop/sizelimit", "0")
	r.Mapped("dm-3", "253:3", "raid", 4096, "sda", "sda1")
	raid := mapped(r.Dev("dm-3"), "raid", "", "0 4096 raid raid1 3 0 region_size 1024 2 - 8:0 - 8:1")
	raid.Status = []string{"raid1 2 AA 4096/4096 idle 0 0 -"}
	r.kernel.Set(raid)
	addBcache(t, r.Machine)
	r.reader.Hurry(1)
	return r
}

// world is what is seen of a machine.
type world struct {
	s     *layout.Snapshot
	st    *remap.Stack
	spelt map[remap.Dev][]string
}

func (r *rig) world(t *testing.T) world {
	t.Helper()
	s := r.read(t)
	w := world{s, stackOf(t, s), make(map[remap.Dev][]string)}
	for _, n := range w.st.Nodes() {
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			w.spelt[n.Dev] = append(w.spelt[n.Dev], spell(t, w.st, op, remap.Range{Dev: n.Dev, Len: n.Size}, make(map[remap.Kind]bool))...)
		}
	}
	return w
}

// sameWithout compares all devices but an odd one, and those that rest on it, with what
// they were.
func (w world) sameWithout(t *testing.T, what string, odd remap.Dev, now world) {
	t.Helper()
	for _, n := range w.st.Nodes() {
		if slices.ContainsFunc(w.st.Under(n.Dev), func(n *remap.Node) bool { return n.Dev == odd }) {
			continue
		}
		m := now.st.Node(n.Dev)
		if m == nil {
			t.Errorf("%s: %s is not seen any more", what, n.Name)
			continue
		}
		if m.Unread || m.Print != n.Print || m.Size != n.Size || !slices.Equal(m.Notes, n.Notes) || !slices.Equal(now.spelt[n.Dev], w.spelt[n.Dev]) {
			t.Errorf("%s: %s was %+v %q\nis %+v %q", what, n.Name, n, w.spelt[n.Dev], m, now.spelt[n.Dev])
		}
	}
}

// explained tells that what is seen of the odd device is what it was, or less, with a
// reason.
func (w world) explained(t *testing.T, what string, odd remap.Dev, now world) {
	t.Helper()
	n, m := w.st.Node(odd), now.st.Node(odd)
	switch {
	case m == nil:
		t.Errorf("%s: it is not seen any more", what)
	case m.Unread && (len(m.Notes) == 0 || m.Layer.Map(remap.Read, 0, 1).Kind != remap.Opaque || m.Layer.Map(remap.Write, 0, 1).Kind != remap.Opaque):
		t.Errorf("%s: %+v", what, m)
	case m.Unread:
	default:
		if m.Size != n.Size {
			t.Errorf("%s: %d sectors of %d", what, m.Size, n.Size)
		}
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			less(t, what, w.st, now.st, op, remap.Range{Dev: odd, Len: n.Size})
		}
	}
}

// less demands that whatever a range is mapped to now, it was mapped to before.
func less(t *testing.T, what string, before, now *remap.Stack, op remap.Op, r remap.Range) {
	t.Helper()
	was, err := before.Cursor(op, r)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range now.Resolve(op, r) {
		if err != nil {
			t.Fatal(err)
		}
		for was.Extent().End() <= e.Start || was.Extent().Len == 0 {
			was.Next()
		}
		old := was.Extent()
		switch {
		case e.Kind == remap.Opaque:
			if e.Reason == "" {
				t.Errorf("%s: opaque without a reason: %+v", what, e)
			}
		case e.Kind == remap.Replica && old.Kind == e.Kind:
			for _, leg := range e.Legs {
				if leg.Readable && !slices.Contains(old.Legs, leg) {
					t.Errorf("%s: leg %+v is not among %+v", what, leg, old.Legs)
				}
			}
		case e.Kind != old.Kind || e.Leg != old.Leg || e.Start != old.Start || e.Len != old.Len:
			t.Errorf("%s: %+v, was %+v", what, e, *old)
		}
	}
}

// oddity is what a file can be instead of what it should.
type oddity struct {
	what string
	make func(path string) error
}

var oddities = []oddity{
	{"gone", func(string) error { return nil }},
	{"another", func(path string) error { return os.WriteFile(path, []byte("x\n"), 0o600) }},
	{"no device", func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) }}, // ENXIO
	{"unprintable", func(path string) error { return os.WriteFile(path, []byte("\x1b[2J\n\x00"), 0o600) }},
	{"empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
	{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }}, // EISDIR
	{"huge", func(path string) error { return os.WriteFile(path, []byte("99999999999999999999\n"), 0o600) }},
	{"a loop", func(path string) error { return os.Symlink(path, path) }}, // ELOOP
}

// files lists all that sysfs has of a device, links and directories included, and
// nothing of its partitions.
func (r *rig) files(t *testing.T, name string) (paths []string) {
	t.Helper()
	root := filepath.Join(string(r.FS()), "sys/class/block", name)
	dir, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{dir}
	if device, err := filepath.EvalSymlinks(filepath.Join(dir, "device")); err == nil && strings.Contains(device, "scsi") {
		dirs = append(dirs, device)
	}
	for _, dir := range dirs {
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			if _, err := os.Stat(filepath.Join(path, "dev")); d.IsDir() && (err == nil || d.Name() == "block") && !strings.Contains(path, "/md/dev-") {
				return fs.SkipDir
			}
			paths = append(paths, path)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// Whatever is odd about one device, in whatever file: all others are seen as if nothing
// were, and nothing of the odd one counts that was not so before.
func TestOddFiles(t *testing.T) {
	r := menagerie(t)
	before := r.world(t)
	away := filepath.Join(t.TempDir(), "away")
	tried := 0
	for _, n := range before.st.Nodes() {
		for i, path := range r.files(t, n.Name) {
			for _, odd := range []oddity{oddities[i%2], oddities[2+i%6]} {
				what := fmt.Sprintf("%s of %s is %s", filepath.Base(path), n.Name, odd.what)
				if err := os.Rename(path, away); err != nil {
					t.Fatal(err)
				}
				if err := odd.make(path); err != nil {
					t.Fatal(err)
				}
				now := r.world(t)
				before.sameWithout(t, what, n.Dev, now)
				before.explained(t, what, n.Dev, now)
				sameStacks(t, what, now.st, stackOf(t, recaptured(t, now.s)), map[remap.Kind]bool{})
				if changes, err := r.reader.Changes(t.Context(), now.st); err != nil {
					t.Errorf("%s: %v, %v", what, changes, err)
				}
				tried++
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(away, path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if len(before.st.Nodes()) < 15 || tried < 500 {
		t.Errorf("%d oddities of %d devices", tried, len(before.st.Nodes()))
	}
	if after := r.world(t); len(after.st.Nodes()) != len(before.st.Nodes()) {
		t.Error("the machine is not what it was")
	} else {
		before.sameWithout(t, "in the end", remap.Dev{}, after)
	}
}

// answers stands between a reader and device-mapper.
type answers struct {
	*dmtest.Kernel
	odd func(dev remap.Dev, command uint, buf []byte) error
}

func (a *answers) Ioctl(command uint, buf []byte) error {
	number := binary.NativeEndian.Uint64(buf[40:])
	dev := remap.Dev{Major: uint32(number>>8) & 0xfff, Minor: uint32(number & 0xff)}
	if err := a.Kernel.Ioctl(command, buf); err != nil {
		return err
	}
	return a.odd(dev, command, buf)
}

// The same for whatever device-mapper answers; what it answers but once is as if it had
// not been.
func TestOddAnswers(t *testing.T) {
	r := menagerie(t)
	before := r.world(t)
	broken := map[string]func(buf []byte) error{
		"of another device": func(buf []byte) error { buf[40]++; return nil },
		"without a name":    func(buf []byte) error { clear(buf[48:176]); return nil },
		"with a long name":  func(buf []byte) error { copy(buf[48:176], strings.Repeat("x", 128)); return nil },
		"cut":               func(buf []byte) error { binary.NativeEndian.PutUint32(buf[12:], 320); return nil },
		"of a wrong size":   func(buf []byte) error { binary.NativeEndian.PutUint32(buf[12:], 1<<30); return nil },
		"of many targets":   func(buf []byte) error { binary.NativeEndian.PutUint32(buf[20:], 77); return nil },
	}
	for _, errno := range []unix.Errno{unix.ENXIO, unix.EIO, unix.EINVAL, unix.ENOMEM, unix.ENODEV, unix.EBUSY, unix.EACCES} {
		broken[errno.Error()] = func([]byte) error { return errno }
	}
	commands := []uint{unix.DM_TABLE_STATUS, unix.DM_TABLE_DEPS}
	for _, n := range before.st.Nodes() {
		if n.Dev.Major != 253 {
			continue
		}
		for odd, spoil := range broken {
			for _, once := range []bool{false, true} {
				for _, command := range commands {
					what := fmt.Sprintf("answer %d of %s is %s, once %v", command&0xff, n.Name, odd, once)
					met := 0
					r.reader = layout.NewReader(layout.Options{FS: r.FS(), DM: dmtable.New(&answers{r.kernel, func(dev remap.Dev, asked uint, buf []byte) error {
						if dev != n.Dev || asked != command || once && met > 0 {
							return nil
						}
						met++
						return spoil(buf)
					}})})
					r.reader.Hurry(2)
					now := r.world(t)
					if met == 0 {
						t.Errorf("%s: never", what)
					}
					before.sameWithout(t, what, n.Dev, now)
					before.explained(t, what, n.Dev, now)
					if _, passes := spoil(make([]byte, 4096)).(unix.Errno); once && passes && !slices.Equal(before.spelt[n.Dev], now.spelt[n.Dev]) {
						t.Errorf("%s: was %q, is %q", what, before.spelt[n.Dev], now.spelt[n.Dev])
					}
				}
			}
		}
	}
}

// TestGoneMeanwhile: a device that is taken away while the machine is read, part by part as the kernel does it,
// was not there, unless nothing is missing that was looked at.
func TestGoneMeanwhile(t *testing.T) {
	steps := []func(*rig){
		func(r *rig) { r.Unset("dm-9", "dm") },
		func(r *rig) { r.Unset("dm-9", "queue") },
		func(r *rig) { r.kernel.Remove(r.Dev("dm-9")) },
		func(r *rig) { r.Release("dm-9", "sda") },
		func(r *rig) { r.Unset("dm-9", "size") },
		func(r *rig) { r.Remove("dm-9") },
	}
	before := menagerie(t).world(t)
	for from := range steps {
		r := menagerie(t)
		r.Mapped("dm-9", "253:9", "vg-pvmove0", 4096, "sda")
		r.kernel.Set(mapped(r.Dev("dm-9"), "vg-pvmove0", "", "0 4096 linear 8:0 0"))
		readings := 0
		r.reader = layout.NewReader(layout.Options{FS: r.FS(), DM: dmtable.New(&answers{r.kernel, func(dev remap.Dev, asked uint, _ []byte) error {
			if dev != r.Dev("dm-0") || asked != unix.DM_TABLE_STATUS {
				return nil
			}
			readings++ // begins, and has not come to dm-9
			now := steps[:from+1]
			if readings > 1 {
				now = steps[from+1:]
			}
			for _, step := range now {
				step(r)
			}
			return nil
		}})})
		r.reader.Hurry(2)
		now := r.world(t)
		if n := now.st.Node(r.Dev("dm-9")); n != nil && (n.Unread || readings > 1) {
			t.Errorf("after step %d: %+v, read %d times", from, n, readings)
		}
		for _, n := range before.st.Nodes() {
			if m := now.st.Node(n.Dev); m == nil || m.Unread || !slices.Equal(before.spelt[n.Dev], now.spelt[n.Dev]) {
				t.Errorf("after step %d: %s is %+v", from, n.Name, m)
			}
		}
	}
}

// TestDeep: a stack that is deeper than can be followed is cut off where it is too deep,
// and what is beside it is seen.
func TestDeep(t *testing.T) {
	m := sysblocktest.New(t)
	m.OnBus("sda", "8:0", "scsi", 4096)
	k := dmtest.New()
	lower := "sda"
	for i := range remap.MaxDepth + 2 {
		name := fmt.Sprintf("dm-%d", i)
		m.Mapped(name, fmt.Sprintf("253:%d", i), name, 4096, lower)
		k.Set(mapped(m.Dev(name), name, "", fmt.Sprintf("0 4096 linear %s 0", m.Dev(lower))))
		lower = name
	}
	s, err := layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(k)}).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st := stackOf(t, stored(t, s))
	for name, want := range map[string]string{"dm-63": "data 8:0:0", "dm-64": "opaque 253:64:0 layer:unread-below", "dm-65": "opaque 253:64:0 layer:unread-below"} {
		if got := resolve(t, st, m.Dev(name), remap.Read); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestGrowingReshape: an array that gets a stripe is shorter than its table until it has
// it. That is a state like another, and not waited for.
func TestGrowingReshape(t *testing.T) {
	m := sysblocktest.New(t)
	var disks []string
	for i := range 4 {
		disks = append(disks, fmt.Sprintf("sd%c", 'a'+i))
		m.OnBus(disks[i], fmt.Sprintf("8:%d", i), "scsi", 1<<20)
	}
	m.Mapped("dm-0", "253:0", "vg-raid", 65536, disks...)
	k := dmtest.New()
	show := func(options, status string) {
		d := mapped(m.Dev("dm-0"), "vg-raid", lvmUUID, "0 98304 raid raid5_ls "+options+" 4 - 8:0 - 8:1 - 8:2 - 8:3")
		d.Status = []string{status}
		k.Set(d)
	}
	r := &rig{Machine: m, kernel: k, reader: layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(k)})}
	for _, options := range []string{"5 128 delta_disks 1 data_offset 8192", "1 128"} {
		show(options, "raid5_ls 4 aaaa 4096/32768 reshape 0 8192 -")
		calls := k.Calls()
		st := stackOf(t, r.read(t))
		if calls = k.Calls() - calls; calls > 5 {
			t.Errorf("%s: read again: %d calls", options, calls)
		}
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			if got := resolve(t, st, m.Dev("dm-0"), op); len(got) != 1 || !strings.Contains(got[0], "0 +65536 opaque 253:0:0 layer:raid-reshape") {
				t.Errorf("%s: %q", options, got)
			}
		}
		if n := st.Node(m.Dev("dm-0")); n.Unread || n.Transition != "" || n.Size != 65536 {
			t.Errorf("%s: %+v", options, n)
		}
		r.changed(t, st, "", "vg/raid")
		show(options, "raid5_ls 4 aaaa 8192/32768 reshape 0 8192 -")
		r.changed(t, st, "", "vg/raid")
		show(options, "raid5_ls 4 AAAA 32768/32768 idle 0 0 -")
		r.changed(t, st, "layout changed", "vg/raid")
	}
	m.Set("dm-0", "size", "98304")
	if got := resolve(t, stackOf(t, r.read(t)), m.Dev("dm-0"), remap.Read); !strings.HasPrefix(got[0], "0 +128 data 8:0:0") {
		t.Errorf("in the end: %q", got[0])
	}
}
