package layout_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// cowSize is that of the copy-on-write device, in sectors.
const cowSize = 4096

// newSnapRig is a disk with an origin of 512 chunks and a snapshot of it.
func newSnapRig(t testing.TB) *rig {
	t.Helper()
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.Mapped("dm-0", "253:0", "origin", 4096, "nvme0n1")
	m.Mapped("dm-1", "253:1", "cow", cowSize, "nvme0n1")
	m.Mapped("dm-2", "253:2", "snap", 4096, "dm-0", "dm-1")
	r := &rig{Machine: m, kernel: dmtest.New(
		mapped(m.Dev("dm-0"), "origin", "", "0 4096 linear 259:0 2048"),
		mapped(m.Dev("dm-1"), "cow", "", "0 4096 linear 259:0 16384"),
	)}
	r.setSnap("24/4096 16")
	r.reader = layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(r.kernel)})
	return r
}

func (r *rig) setSnap(status string) {
	d := mapped(r.Dev("dm-2"), "snap", "", "0 4096 snapshot 253:0 253:1 P 8")
	d.Status = []string{status}
	r.kernel.Set(d)
}

// TestFillings: what is written to an origin, or to what lies on one, fills its snapshots,
// and nobody else's.
func TestFillings(t *testing.T) {
	r := newSnapRig(t)
	r.Mapped("dm-3", "253:3", "top", 4096, "dm-0")
	r.Mapped("dm-4", "253:4", "upper", 4096, "dm-3")
	r.kernel.Set(mapped(r.Dev("dm-3"), "top", "", "0 4096 snapshot-origin 253:0"))
	r.kernel.Set(mapped(r.Dev("dm-4"), "upper", "", "0 4096 linear 253:3 0"))
	want := layout.SnapshotSpace{Name: "snap", Size: 4096, SnapshotUse: dmtable.SnapshotUse{Origin: r.Dev("dm-0"), Chunk: 8, Used: 24, Total: 4096}}
	for _, name := range []string{"dm-3", "dm-4"} {
		got, err := r.reader.SnapshotSpaces(r.Dev(name))
		if err != nil || !slices.Equal(got, []layout.SnapshotSpace{want}) || got[0].Free() != 4072 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	want.Itself = true
	if got, err := r.reader.SnapshotSpaces(r.Dev("dm-2")); err != nil || !slices.Equal(got, []layout.SnapshotSpace{want}) {
		t.Errorf("itself: %+v, %v", got, err)
	}
	if lost, err := r.reader.LostSnapshots(r.Dev("dm-2")); err != nil || len(lost) > 0 {
		t.Errorf("lost: %q, %v", lost, err)
	}
	for _, name := range []string{"dm-0", "dm-1", "nvme0n1"} { // below, and beside
		if got, err := r.reader.SnapshotSpaces(r.Dev(name)); err != nil || len(got) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	r.setSnap("Invalid")
	if got, err := r.reader.SnapshotSpaces(r.Dev("dm-3")); err != nil || len(got) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if lost, err := r.reader.LostSnapshots(r.Dev("dm-2")); err != nil || !slices.Equal(lost, []string{"snap"}) {
		t.Errorf("lost: %q, %v", lost, err)
	}
}

// reads resolves a whole device for reading.
func (r *rig) reads(t testing.TB, s *layout.Snapshot, name string) []string {
	t.Helper()
	return resolve(t, stackOf(t, s), r.Dev(name), remap.Read)
}

// problems are those of one device.
func problems(t testing.TB, s *layout.Snapshot, name string) string {
	t.Helper()
	for i := range s.Nodes {
		if dm := s.Nodes[i].DM; s.Nodes[i].Name == name || dm != nil && dm.Name == name {
			return strings.Join(s.Nodes[i].Problems, "\n")
		}
	}
	t.Fatalf("no %s in the snapshot", name)
	return ""
}

// closed fails unless a device is opaque as a whole for one reason, and a note
// says why.
func closed(t testing.TB, s *layout.Snapshot, name, reason, why string) {
	t.Helper()
	st := stackOf(t, s)
	dev, err := s.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []remap.Op{remap.Read, remap.Write} {
		for e, err := range st.Resolve(op, remap.Range{Dev: dev, Len: st.Node(dev).Size}) {
			if err != nil || e.Kind != remap.Opaque || string(e.Reason) != reason {
				t.Errorf("%s %s: %+v, %v; want %s", op, name, e, err, reason)
			}
		}
	}
	notes := strings.Join(st.Node(dev).Notes, "\n")
	if !strings.Contains(notes, why) || why == "" && problems(t, s, name) != "" {
		t.Errorf("%s: notes %q do not say %q", name, notes, why)
	}
}

func TestExceptions(t *testing.T) {
	r := newSnapRig(t)
	setDisk(t, r.Machine, "dm-1", exceptions(cowSize, [2]uint64{3, 2}, [2]uint64{4, 3}, [2]uint64{511, 4}))
	s := r.read(t, "dm-2")
	want := []string{
		"0 +24 data 259:0:2048  [dm:snapshot dm:linear]",
		"24 +16 data 259:0:16400  [dm:snapshot dm:linear]",
		"40 +4048 data 259:0:2088  [dm:snapshot dm:linear]",
		"4088 +8 data 259:0:16416  [dm:snapshot dm:linear]",
	}
	if got := r.reads(t, s, "dm-2"); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if p := problems(t, s, "dm-2"); p != "" {
		t.Error(p)
	}
	st := stackOf(t, s)
	if !st.CopiesOnWrite(r.Dev("dm-2")) || st.CopiesOnWrite(r.Dev("dm-0")) {
		t.Error("a snapshot copies on write, its origin does not")
	}
	for e, err := range st.Resolve(remap.Write, remap.Range{Dev: r.Dev("dm-2"), Len: 4096}) {
		if err != nil || e.Kind != remap.Opaque {
			t.Errorf("written to: %+v, %v", e, err)
		}
	}
}

// A store that grows is read on from where it ended; the result is that of
// reading it all.
func TestExceptionsGrow(t *testing.T) {
	r := newSnapRig(t)
	list := append(entries(256, 0), [2]uint64{1, 259}, [2]uint64{3, 260}, [2]uint64{511, 261})
	for _, n := range []int{0, 1, 1, 200, 255, 256, 256, 257, 259, 259} {
		setDisk(t, r.Machine, "dm-1", exceptions(cowSize, list[:n]...))
		got := r.read(t, "dm-2")
		fresh, err := layout.NewReader(layout.Options{FS: r.FS(), DM: dmtable.New(r.kernel)}).Read(context.Background(), r.Dev("dm-2"))
		if err != nil {
			t.Fatal(err)
		}
		a, b := r.reads(t, got, "dm-2"), r.reads(t, fresh, "dm-2")
		if !slices.Equal(a, b) || problems(t, got, "dm-2") != "" {
			t.Errorf("%d exceptions: grown %q\nfresh %q\n%s", n, a, b, problems(t, got, "dm-2"))
		}
		if lower := strings.Count(strings.Join(b, "\n"), "259:0:1"); (n == 0) != (lower == 0) {
			t.Errorf("%d exceptions: %q", n, b)
		}
	}
}

// The device below a store may grow without a change of the snapshot's table.
func TestCopyOnWriteDeviceGrows(t *testing.T) {
	r := newSnapRig(t)
	list := entries(200, 0)
	setDisk(t, r.Machine, "dm-1", exceptions(cowSize, list[:2]...))
	r.read(t, "dm-2")
	list[199][1] = 700
	setDisk(t, r.Machine, "dm-1", exceptions(2*cowSize, list...))
	r.Set("dm-1", "size", "8192")
	r.kernel.Set(mapped(r.Dev("dm-1"), "cow", "", "0 8192 linear 259:0 16384"))
	s := r.read(t, "dm-2")
	if got := r.reads(t, s, "dm-2"); len(got) != 400 || !strings.HasPrefix(got[398], "3184 +8 data 259:0:21984 ") {
		t.Errorf("%d extents %q, %s", len(got), got, problems(t, s, "dm-2"))
	}
}

// A store that is another one is not taken for the old one, even if nothing
// else has changed, and is read from its beginning the next time.
func TestExceptionsReplaced(t *testing.T) {
	for what, list := range map[string][][2]uint64{
		"empty": nil, "shorter": entries(3, 0), "longer": append(entries(256, 1), [2]uint64{0, 259}), "as long": entries(256, 1),
	} {
		r := newSnapRig(t)
		setDisk(t, r.Machine, "dm-1", exceptions(cowSize, entries(256, 0)...))
		r.read(t, "dm-2")
		r.read(t, "dm-2") // the first area is settled by now
		setDisk(t, r.Machine, "dm-1", exceptions(cowSize, list...))
		closed(t, r.read(t, "dm-2"), "snap", "layer:snapshot-unread", "exceptions have changed")
		s := r.read(t, "dm-2")
		if got := r.reads(t, s, "dm-2"); problems(t, s, "dm-2") != "" || r.copied(got) != len(list) {
			t.Errorf("%s: read again: %s, %q", what, problems(t, s, "dm-2"), got)
		}
	}
}

// copied counts the extents on the copy-on-write device.
func (r *rig) copied(extents []string) (n int) {
	for _, e := range extents {
		_, at, _ := strings.Cut(e, "259:0:")
		start, err := strconv.Atoi(at[:strings.Index(at, " ")])
		if err == nil && start >= 16384 {
			n++
		}
	}
	return n
}

// A snapshot that was made anew does not inherit exceptions, though its table is
// the same.
func TestSnapshotReplaced(t *testing.T) {
	r := newSnapRig(t)
	setDisk(t, r.Machine, "dm-1", exceptions(cowSize, entries(5, 0)...))
	r.read(t, "dm-2")
	for i, dev := range []string{"dm-1", "dm-2"} {
		r.Set(dev, "diskseq", "77")
		setDisk(t, r.Machine, "dm-1", exceptions(cowSize, entries(i, 0)...))
		s := r.read(t, "dm-2")
		if got := r.reads(t, s, "dm-2"); r.copied(got) != i || problems(t, s, "dm-2") != "" {
			t.Errorf("%s: %q, %s", dev, got, problems(t, s, "dm-2"))
		}
	}
}

// What cannot be read makes one line opaque and nothing else.
func TestExceptionsBroken(t *testing.T) {
	edit := func(at int, value byte) []byte {
		b := exceptions(cowSize, entries(3, 0)...)
		b[at] = value
		return b
	}
	for why, content := range map[string][]byte{
		"magic": edit(0, 'x'), "snapshot is invalid": edit(4, 0), "validity 2": edit(4, 2), "version 2": edit(8, 2),
		"chunks of 7 sectors":               edit(12, 7),
		"is copied to chunk 1, which holds": edit(4096+8, 1), "of 512": edit(4096+10, 1),
		"two chunks are copied to chunk 3": edit(4096+8, 3), "is copied twice": edit(4096, 2),
		"chunks of 0 sectors": edit(12, 0), "malformed exception store: magic 0x0": make([]byte, cowSize*512), "unexpected EOF": exceptions(8),
	} {
		r := newSnapRig(t)
		setDisk(t, r.Machine, "dm-1", content)
		s := r.read(t)
		closed(t, s, "snap", "layer:snapshot-unread", why)
		if got := r.reads(t, s, "dm-0"); len(got) != 1 || !strings.Contains(got[0], "data") {
			t.Errorf("%s: the origin is %q", why, got)
		}
		setDisk(t, r.Machine, "dm-1", exceptions(cowSize, entries(3, 0)...))
		if s := r.read(t); problems(t, s, "dm-2") != "" {
			t.Errorf("%s: repaired, but %s", why, problems(t, s, "dm-2"))
		}
	}
	r := newSnapRig(t) // there is no node in dev
	closed(t, r.read(t), "snap", "layer:snapshot-unread", "dm-1: no such file or directory")
	if err := os.Mkdir(r.FS().Device("dm-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	closed(t, r.read(t), "snap", "layer:snapshot-unread", "neither a block device nor a regular file")
}

// Chunks of another size than the table has make the line opaque, too.
func TestExceptionsOfAnotherChunkSize(t *testing.T) {
	r := newSnapRig(t)
	b := exceptions(cowSize)
	b[12] = 16
	setDisk(t, r.Machine, "dm-1", b)
	closed(t, r.read(t), "snap", "layer:snapshot-unparsed", "")
}

// Without need, nothing is opened: the node is not even there.
func TestExceptionsNotLookedFor(t *testing.T) {
	for status, reason := range map[string]string{
		"Invalid": "layer:snapshot-invalid", "Overflow": "layer:snapshot-invalid", "Merge failed": "layer:snapshot-invalid",
		"Unknown": "layer:snapshot-invalid", "": "layer:snapshot-invalid",
	} {
		r := newSnapRig(t)
		r.setSnap(status)
		closed(t, r.read(t), "snap", reason, "")
	}
}

// A read of a device that is suspended, or that lies on one, would wait: it is
// not made. The node is none, which would be told otherwise.
func TestExceptionsBelowSuspended(t *testing.T) {
	r := newSnapRig(t)
	d := mapped(r.Dev("dm-1"), "cow", "", "0 4096 linear 259:0 16384")
	for flag, why := range map[uint32]string{
		unix.DM_SUSPEND_FLAG: `"dm-1" (253:1) is suspended`, unix.DM_INTERNAL_SUSPEND_FLAG: "is suspended by the kernel",
		unix.DM_INACTIVE_PRESENT_FLAG: "is new table staged",
	} {
		d.Flags = unix.DM_ACTIVE_PRESENT_FLAG | flag
		r.kernel.Set(d)
		closed(t, r.read(t), "snap", "layer:snapshot-unread", why)
	}
	r.Mapped("dm-9", "253:9", "below", 4096, "nvme0n1")
	low := mapped(r.Dev("dm-9"), "below", "", "0 4096 linear 259:0 16384")
	low.Flags |= unix.DM_SUSPEND_FLAG
	r.kernel.Set(low)
	r.Release("dm-1", "nvme0n1")
	r.Hold("dm-1", "dm-9")
	r.kernel.Set(mapped(r.Dev("dm-1"), "cow", "", "0 4096 linear 253:9 0"))
	closed(t, r.read(t), "snap", "layer:snapshot-unread", `"dm-9" (253:9) is suspended`)
}

// Exceptions that come are no change of the layout; a snapshot that is given up
// is one.
func TestChangesOfSnapshot(t *testing.T) {
	r := newSnapRig(t)
	setDisk(t, r.Machine, "dm-1", exceptions(cowSize))
	st := stackOf(t, r.read(t, "dm-2"))
	for _, test := range []struct{ status, want string }{
		{"4000/4096 32", ""}, {"24/4096 16", ""}, {"Invalid", "layout changed"}, {"Overflow", "layout changed"}, {"24/4096 16", ""},
	} {
		r.setSnap(test.status)
		r.changed(t, st, test.want, "snap")
	}
}

// changed fails unless exactly the named devices have changed, in one way.
func (r *rig) changed(t testing.TB, st *remap.Stack, want string, names ...string) {
	t.Helper()
	changes, err := r.reader.Changes(context.Background(), st)
	if err != nil {
		t.Fatal(err)
	}
	var got, list []string
	for _, c := range changes {
		got = append(got, c.Name+" "+c.What)
	}
	for _, name := range names {
		if want != "" {
			list = append(list, name+" "+want)
		}
	}
	if !slices.Equal(got, list) {
		t.Errorf("changes %q, want %q", got, list)
	}
}
