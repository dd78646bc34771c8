package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/mdraid/mdraidtest"
	"github.com/dmcopy/dmcopy/remap"
)

const key = "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"

// rig is a machine with two NVMe namespaces, a partition, LVM on both, a crypt
// device on a volume, and md, loop and zero devices.
type rig struct {
	*sysblocktest.Machine
	kernel *dmtest.Kernel
	reader *layout.Reader
}

var lvmUUID = "LVM-" + strings.Repeat("v", 32) + strings.Repeat("l", 32)

// setArray makes an array of a device.
func setArray(m *sysblocktest.Machine, name string, a *mdraidtest.Array, members ...string) {
	for attr, value := range a.Attrs {
		m.Set(name, "md/"+attr, value)
	}
	for i, member := range members {
		for attr, value := range a.Members[i].Attrs {
			m.Set(name, "md/dev-"+member+"/"+attr, value)
		}
		m.Set(name, "md/dev-"+member+"/block/dev", m.Dev(member).String())
	}
}

func newRig(t testing.TB) *rig {
	t.Helper()
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.NVMe(1, 1, "259:1", 1<<20)
	m.Part("nvme0n1", "nvme0n1p1", "259:2", 1, 2048, 1<<19)
	m.Mapped("dm-0", "253:0", "vg-home", 3000, "nvme0n1p1", "nvme1n1")
	m.Mapped("dm-1", "253:1", "luks", 2000, "dm-0")
	m.Mapped("dm-2", "253:2", "nothing", 100)
	m.Stacked("md0", "9:0", 4096, "nvme0n1", "nvme1n1")
	setArray(m, "md0", mdraidtest.New("raid1", 2, 4096), "nvme0n1", "nvme1n1")
	m.Disk("loop0", "7:0", 0)
	k := dmtest.New(
		mapped(m.Dev("dm-0"), "vg-home", lvmUUID, "0 1000 linear 259:2 384", "1000 2000 striped 2 100 259:1 0 259:2 5000"),
		mapped(m.Dev("dm-1"), "luks", "CRYPT-LUKS2-0b3d-luks", "0 2000 crypt aes-xts-plain64 "+key+" 0 253:0 1000"),
		mapped(m.Dev("dm-2"), "nothing", "", "0 50 zero", "50 50 error"),
	)
	r := &rig{Machine: m, kernel: k}
	r.reader = layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(k)})
	return r
}

func mapped(dev remap.Dev, name, uuid string, lines ...string) dmtest.Device {
	return dmtest.Device{Dev: dev, Name: name, UUID: uuid, Flags: unix.DM_ACTIVE_PRESENT_FLAG, Lines: lines}
}

func (r *rig) read(t testing.TB, names ...string) *layout.Snapshot {
	t.Helper()
	var devs []remap.Dev
	for _, name := range names {
		devs = append(devs, r.Dev(name))
	}
	s, err := r.reader.Read(context.Background(), devs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stackOf(t testing.TB, s *layout.Snapshot) *remap.Stack {
	t.Helper()
	st, err := s.Stack()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestSharedGroupsAreNoted: where lvmlockd runs, other machines may change what LVM
// manages, and nothing else; a capture says so.
func TestSharedGroupsAreNoted(t *testing.T) {
	for _, shared := range []bool{false, true} {
		r := newRig(t)
		if shared {
			r.File("run/lvmlockd.pid", "4711")
		}
		s := r.read(t, "dm-1")
		var stored bytes.Buffer
		if err := s.Write(&stored); err != nil {
			t.Fatal(err)
		}
		back, err := layout.Load(&stored)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range []*remap.Stack{stackOf(t, s), stackOf(t, back)} {
			for name, want := range map[string]bool{"dm-0": shared, "dm-1": false, "nvme0n1p1": false} {
				if got := st.Node(r.Dev(name)).Owner.Shared; got != want {
					t.Errorf("%s: shared %v, want %v", name, got, want)
				}
			}
		}
	}
}

// resolve spells out where a whole device lives.
func resolve(t testing.TB, st *remap.Stack, dev remap.Dev, op remap.Op) []string {
	t.Helper()
	var got []string
	for e, err := range st.Resolve(op, remap.Range{Dev: dev, Len: st.Node(dev).Size}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d +%d %s %s:%d %s %v", e.Start, e.Len, e.Kind, e.Leg.Dev, e.Leg.Start, e.Reason, e.Via.Names()))
	}
	return got
}

func names(s *layout.Snapshot) []string {
	var names []string
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	return names
}

func TestRead(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct{ from, want []string }{
		{[]string{"nvme1n1"}, []string{"nvme1n1"}},
		{[]string{"nvme0n1p1"}, []string{"nvme0n1", "nvme0n1p1"}},
		{[]string{"dm-1"}, []string{"dm-0", "dm-1", "nvme0n1", "nvme1n1", "nvme0n1p1"}},
		{[]string{"md0", "dm-2"}, []string{"md0", "dm-2", "nvme0n1", "nvme1n1"}},
		{nil, []string{"loop0", "md0", "dm-0", "dm-1", "dm-2", "nvme0n1", "nvme1n1", "nvme0n1p1"}},
	} {
		s := r.read(t, test.from...)
		if got := names(s); !slices.Equal(got, test.want) {
			t.Errorf("from %v: %v, want %v", test.from, got, test.want)
		}
		if s.Schema != layout.Schema || s.Kernel != "6.12.0-test" || s.Created.IsZero() {
			t.Errorf("head %+v", s)
		}
		stackOf(t, s)
	}
}

func TestStack(t *testing.T) {
	r := newRig(t)
	st := stackOf(t, r.read(t))
	want := []string{
		"0 +1000 data 259:0:2432  [dm:linear partition]",
		"1000 +100 data 259:1:0  [dm:striped]",
		"1100 +100 data 259:0:7048  [dm:striped partition]",
		"1200 +100 data 259:1:100  [dm:striped]",
	}
	if got := resolve(t, st, r.Dev("dm-0"), remap.Write); !slices.Equal(got[:4], want) {
		t.Errorf("got %q\nwant %q", got[:4], want)
	}
	want = []string{"0 +100 cipher 259:1:0  [dm:crypt dm:striped]", "100 +100 cipher 259:0:7048  [dm:crypt dm:striped partition]"}
	if got := resolve(t, st, r.Dev("dm-1"), remap.Read); !slices.Equal(got[:2], want) {
		t.Errorf("got %q\nwant %q", got[:2], want)
	}
	for name, want := range map[string][]string{
		"dm-2": {"0 +50 zero 253:2:0  [dm:zero]", "50 +50 error 253:2:50 layer:error [dm:error]"},
		"md0":  {"0 +4096 replica 259:0:2048  [md:raid1]"},
	} {
		if got := resolve(t, st, r.Dev(name), remap.Read); !slices.Equal(got, want) {
			t.Errorf("%s: got %q\nwant %q", name, got, want)
		}
	}
	home := st.Node(r.Dev("dm-0"))
	if home.Label != "vg/home" || home.Owner != (remap.Owner{Manager: "lvm", Group: "vg"}) || home.Path != "/dev/dm-0" || !home.Mutable || home.Transition != "" {
		t.Errorf("%+v", home)
	}
	part, disk, md := st.Node(r.Dev("nvme0n1p1")), st.Node(r.Dev("nvme0n1")), st.Node(r.Dev("md0"))
	if part.Mutable || part.Leaf != nil || disk.Mutable || disk.Leaf.Driver != "nvme" || disk.Path != "/dev/nvme0n1" || !md.Mutable {
		t.Errorf("%+v\n%+v\n%+v", part, disk, md)
	}
}

// A capture resolves like the machine that it was taken from, holds no key,
// and survives being stored twice.
func TestCaptureRoundTrip(t *testing.T) {
	r := newRig(t)
	live := r.read(t)
	var stored bytes.Buffer
	if err := live.Write(&stored); err != nil {
		t.Fatal(err)
	}
	if text := stored.String(); strings.Contains(text, key[:8]) || strings.Contains(fmt.Sprintf("%+v %#v", live, live), key[:8]) {
		t.Fatalf("the key is in the capture: %s", text)
	}
	back, err := layout.Load(bytes.NewReader(stored.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	a, b := stackOf(t, live), stackOf(t, back)
	for _, n := range a.Nodes() {
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			if live, back := resolve(t, a, n.Dev, op), resolve(t, b, n.Dev, op); !slices.Equal(live, back) {
				t.Errorf("%s %s: live %q\ncaptured %q", op, n.Name, live, back)
			}
		}
		other := *b.Node(n.Dev)
		other.Print, other.Layer = n.Print, n.Layer
		if !reflect.DeepEqual(*n, other) {
			t.Errorf("live     %+v\ncaptured %+v", *n, other)
		}
	}
	var again bytes.Buffer
	if err := back.Write(&again); err != nil || again.String() != stored.String() {
		t.Errorf("stored again, it differs: %v\n%s\n%s", err, stored.String(), again.String())
	}
	if changes := b.Changes(stackOf(t, back)); len(changes) != 0 {
		t.Errorf("a capture differs from itself: %v", changes)
	}
}

func TestLookup(t *testing.T) {
	r := newRig(t)
	s := r.read(t)
	for name, dev := range map[string]string{
		"nvme0n1": "nvme0n1", "/dev/nvme0n1p1": "nvme0n1p1", "253:0": "dm-0", "vg/home": "dm-0", "vg-home": "dm-0",
		"/dev/mapper/vg-home": "dm-0", "/dev/vg/home": "dm-0", "dm-1": "dm-1", "luks": "dm-1",
	} {
		if got, err := s.Lookup(name); err != nil || got != r.Dev(dev) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "vg", "nvme2n1", "0:0"} {
		if dev, err := s.Lookup(name); !errors.Is(err, layout.ErrUnknown) {
			t.Errorf("%q: %v, %v", name, dev, err)
		}
	}
}

// A mapped device is found by its name as dmsetup shows it, unless that is the name of
// two of them.
func TestLookupShown(t *testing.T) {
	r := newRig(t)
	s := r.read(t)
	rename := func(dev, name string) {
		for i := range s.Nodes {
			if s.Nodes[i].Dev == r.Dev(dev) {
				s.Nodes[i].DM.Name = name
			}
		}
	}
	rename("dm-1", `my\x20disk`)
	for _, name := range []string{"my disk", "/dev/mapper/my disk"} {
		if got, err := s.Lookup(name); err != nil || got != r.Dev("dm-1") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	rename("dm-2", `my\x20\x64isk`)
	if dev, err := s.Lookup("my disk"); !errors.Is(err, layout.ErrUnknown) {
		t.Errorf("%v, %v", dev, err)
	}
}

// Every change of every fact that the layout rests on is seen; what is no part
// of the layout is not.
func TestChanges(t *testing.T) {
	home := func(r *rig, lines ...string) {
		r.kernel.Set(mapped(r.Dev("dm-0"), "vg-home", lvmUUID, lines...))
	}
	same := []string{"0 1000 linear 259:2 384", "1000 2000 striped 2 100 259:1 0 259:2 5000"}
	flagged := func(r *rig, flags uint32) {
		d := mapped(r.Dev("dm-0"), "vg-home", lvmUUID, same...)
		d.Flags |= flags
		r.kernel.Set(d)
	}
	for what, test := range map[string]struct {
		do   func(*rig)
		want []string
	}{
		"nothing":      {func(*rig) {}, nil},
		"same table":   {func(r *rig) { home(r, same...) }, nil},
		"upper device": {func(r *rig) { r.Mapped("dm-9", "253:9", "new", 8, "dm-1") }, nil},
		"open count": {func(r *rig) {
			d := mapped(r.Dev("dm-2"), "nothing", "", "0 50 zero", "50 50 error")
			d.OpenCount = 7
			r.kernel.Set(d)
		}, nil},
		"linear start": {func(r *rig) { home(r, "0 1000 linear 259:2 392", same[1]) }, []string{"vg/home (253:0): layout changed"}},
		"device":       {func(r *rig) { home(r, "0 1000 linear 259:1 384", same[1]) }, []string{"vg/home (253:0): layout changed"}},
		"rename":       {func(r *rig) { r.kernel.Set(mapped(r.Dev("dm-0"), "vg-other", lvmUUID, same...)) }, []string{"vg/home (253:0): layout changed"}},
		"key": {func(r *rig) {
			r.kernel.Set(mapped(r.Dev("dm-1"), "luks", "CRYPT-LUKS2-0b3d-luks", "0 2000 crypt aes-xts-plain64 "+key[2:]+"00 0 253:0 1000"))
		}, []string{"luks (253:1): layout changed"}},
		"suspend":           {func(r *rig) { flagged(r, unix.DM_SUSPEND_FLAG) }, []string{"vg/home (253:0): suspended"}},
		"internal suspend":  {func(r *rig) { flagged(r, unix.DM_INTERNAL_SUSPEND_FLAG) }, []string{"vg/home (253:0): suspended by the kernel"}},
		"staged table":      {func(r *rig) { flagged(r, unix.DM_INACTIVE_PRESENT_FLAG) }, []string{"vg/home (253:0): new table staged"}},
		"read-only table":   {func(r *rig) { flagged(r, unix.DM_READONLY_FLAG) }, []string{"vg/home (253:0): layout changed"}},
		"table is gone":     {func(r *rig) { r.kernel.Remove(r.Dev("dm-1")) }, []string{"luks (253:1): gone"}},
		"device is gone":    {func(r *rig) { r.Remove("dm-2") }, []string{"nothing (253:2): gone"}},
		"partition start":   {func(r *rig) { r.Set("nvme0n1p1", "start", "4096") }, []string{"nvme0n1p1 (259:2): layout changed"}},
		"partition size":    {func(r *rig) { r.Set("nvme0n1p1", "size", "4096") }, []string{"nvme0n1p1 (259:2): layout changed"}},
		"read-only":         {func(r *rig) { r.Set("nvme1n1", "ro", "1") }, []string{"nvme1n1 (259:1): layout changed"}},
		"disk size":         {func(r *rig) { r.Set("nvme1n1", "size", "4096") }, []string{"nvme1n1 (259:1): layout changed"}},
		"block size":        {func(r *rig) { r.Set("nvme1n1", "queue/logical_block_size", "4096") }, []string{"nvme1n1 (259:1): layout changed"}},
		"other disk":        {func(r *rig) { r.Set("nvme1n1", "diskseq", "99") }, []string{"nvme1n1 (259:1): layout changed"}},
		"other namespace":   {func(r *rig) { r.Set("nvme1n1", "nsid", "2") }, []string{"nvme1n1 (259:1): layout changed"}},
		"other identity":    {func(r *rig) { r.Set("nvme1n1", "wwid", "uuid.x") }, []string{"nvme1n1 (259:1): layout changed"}},
		"member of md":      {func(r *rig) { r.Release("md0", "nvme1n1") }, []string{"md0 (9:0): layout changed"}},
		"several at a time": {func(r *rig) { r.Remove("dm-2"); r.Set("nvme1n1", "ro", "1") }, []string{"nothing (253:2): gone", "nvme1n1 (259:1): layout changed"}},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t)
			st := stackOf(t, r.read(t))
			test.do(r)
			changes, err := r.reader.Changes(context.Background(), st)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, c.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Changes asks for each table once and for nothing else of device-mapper.
func TestChangesAreCheap(t *testing.T) {
	r := newRig(t)
	st := stackOf(t, r.read(t, "dm-1"))
	before := r.kernel.Calls()
	if _, err := r.reader.Changes(context.Background(), st); err != nil {
		t.Fatal(err)
	}
	if calls := r.kernel.Calls() - before; calls != 2 {
		t.Errorf("%d ioctls for 2 mapped devices", calls)
	}
}

// A look that fails is a change, never "no changes".
// A disk that is taken away has no size first.
func TestChangesOnTheWayOut(t *testing.T) {
	r := newRig(t)
	st := stackOf(t, r.read(t))
	r.Set("nvme0n1", "size", "0")
	changes, err := r.reader.Changes(context.Background(), st)
	if err != nil || len(changes) != 1 || changes[0].Dev != r.Dev("nvme0n1") || !changes[0].Gone || len(remap.Moved(changes)) != 1 {
		t.Errorf("%v, %v", changes, err)
	}
}

func TestChangesFail(t *testing.T) {
	r := newRig(t)
	st := stackOf(t, r.read(t))
	r.Set("nvme0n1", "size", "x")
	changes, err := r.reader.Changes(context.Background(), st)
	if err != nil || len(changes) != 1 || changes[0].Dev != r.Dev("nvme0n1") || !strings.Contains(changes[0].What, "cannot be read") || changes[0].Moving {
		t.Errorf("%v, %v", changes, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if changes, err := r.reader.Changes(ctx, st); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", changes, err)
	}
	if s, err := r.reader.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", s, err)
	}
}

// hooked runs a function before some of the ioctls.
type hooked struct {
	*dmtest.Kernel
	before func(call int)
	calls  int
}

func (h *hooked) Ioctl(command uint, buf []byte) error {
	h.calls++
	h.before(h.calls)
	return h.Kernel.Ioctl(command, buf)
}

// A table that is swapped between sysfs and the ioctl is read again; one that
// never agrees with sysfs is no layout: the device is opaque, and waited for.
func TestRace(t *testing.T) {
	r := newRig(t)
	swap := func(call int) {
		switch call {
		case 1: // sysfs was read, the table is another one by now
			r.kernel.Set(mapped(r.Dev("dm-0"), "vg-home", lvmUUID, "0 3000 linear 259:1 0"))
		case 3: // and sysfs follows
			r.Release("dm-0", "nvme0n1p1")
		}
	}
	reader := layout.NewReader(layout.Options{FS: r.FS(), DM: dmtable.New(&hooked{Kernel: r.kernel, before: swap})})
	s, err := reader.Read(context.Background(), r.Dev("dm-0"))
	if err != nil || !slices.Equal(names(s), []string{"dm-0", "nvme1n1"}) {
		t.Errorf("the layout came to rest, but %v, %v", s, err)
	}

	for what, do := range map[string]func(r *rig){
		"slave without the table": func(r *rig) { r.Hold("dm-0", "loop0") },
		"table without the slave": func(r *rig) { r.Release("dm-0", "nvme1n1") },
		"another size":            func(r *rig) { r.Set("dm-0", "size", "3001") },
		"device that is not held": func(r *rig) {
			d := mapped(r.Dev("dm-0"), "vg-home", lvmUUID, "0 3000 linear 259:1 0")
			d.Deps = []remap.Dev{r.Dev("nvme0n1p1")}
			r.kernel.Set(d)
		},
	} {
		r := newRig(t)
		do(r)
		n := stackOf(t, r.read(t, "dm-0")).Node(r.Dev("dm-0"))
		if p := n.Layer.Map(remap.Read, 0, 8); p.Kind != remap.Opaque || p.Reason != sysblock.ReasonUnread || !n.Unread || n.Transition == "" {
			t.Errorf("%s: %+v, %+v", what, n, p)
		}
	}
}

// A staged table holds devices that the live one does not.
func TestStagedTableMayHoldMore(t *testing.T) {
	r := newRig(t)
	r.Hold("dm-0", "md0")
	d := mapped(r.Dev("dm-0"), "vg-home", lvmUUID, "0 3000 linear 259:1 0")
	d.Flags |= unix.DM_INACTIVE_PRESENT_FLAG
	r.kernel.Set(d)
	st := stackOf(t, r.read(t, "dm-0"))
	if n := st.Node(r.Dev("dm-0")); n.Transition != "new table staged" {
		t.Errorf("%+v", n)
	}
}

func TestReadOfWhatIsNotThere(t *testing.T) {
	r := newRig(t)
	if s, err := r.reader.Read(context.Background(), remap.Dev{Major: 8}); !errors.Is(err, sysblock.ErrGone) || !strings.Contains(err.Error(), "8:0") {
		t.Errorf("%v, %v", s, err)
	}
	r.kernel.Remove(r.Dev("dm-0"))
	n := stackOf(t, r.read(t, "dm-0")).Node(r.Dev("dm-0"))
	if !n.Unread || len(n.Notes) != 1 || !strings.Contains(n.Notes[0], dmtable.ErrNoDevice.Error()) {
		t.Errorf("%+v", n)
	}
}

// A device that rests on itself is opaque, and says so.
func TestLiveCycle(t *testing.T) {
	r := newRig(t)
	r.Hold("dm-0", "dm-1")
	r.kernel.Set(mapped(r.Dev("dm-0"), "vg-home", lvmUUID, "0 1000 linear 259:2 384", "1000 1000 linear 253:1 0", "2000 1000 linear 259:1 0"))
	st := stackOf(t, stored(t, r.read(t)))
	var cut []*remap.Node
	for _, n := range st.Nodes() {
		if n.Unread {
			cut = append(cut, n)
		}
	}
	if len(cut) != 1 || !strings.Contains(cut[0].Notes[0], "rests on itself") || cut[0].Layer.Map(remap.Read, 0, 8).Reason != sysblock.ReasonBlind {
		t.Errorf("%+v", cut)
	}
	if got := resolve(t, st, r.Dev("md0"), remap.Read); !strings.Contains(got[0], "replica") {
		t.Errorf("an array beside it: %q", got)
	}
}
