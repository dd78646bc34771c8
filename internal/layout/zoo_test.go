package layout_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/mdraid/mdraidtest"
	"github.com/dmcopy/dmcopy/remap"
)

// zooTable is a table of the vectors of package dmtable, with what was read
// besides its lines, by line, as JSON of the target.
type zooTable struct {
	device dmtest.Device
	size   int64
	read   map[int]string
}

// fieldsOf says where in a target the attachments of vectors belong.
var fieldsOf = map[string]string{
	"exceptions": `{"exceptions":%s}`, "thin": `{"thin":%s}`, "super": `{"integrity":{"super":%s}}`, "member": `{"raid_super":%s}`,
}

// zooTables are the tables of one file of vectors: every type, in every state
// that somebody has thought of.
func zooTables(t testing.TB, path string) (tables []zooTable) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		z := zooTable{read: make(map[int]string)}
		for _, line := range strings.Split(block, "\n") {
			z.line(t, line)
		}
		tables = append(tables, z)
	}
	return tables
}

func (z *zooTable) line(t testing.TB, line string) {
	t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	last := len(z.device.Lines) - 1
	switch start, err := strconv.ParseInt(word, 10, 64); {
	case err == nil:
		length, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		z.size = start + length
		z.device.Lines, z.device.Status = append(z.device.Lines, line), append(z.device.Status, "")
	case word == "status":
		z.device.Status[last] = rest
	case fieldsOf[word] != "":
		z.read[last] = fmt.Sprintf(fieldsOf[word], rest)
	}
}

// devices are those that the tables name.
func devices(tables []zooTable) map[remap.Dev]string {
	names := make(map[remap.Dev]string)
	for _, z := range tables {
		for _, word := range strings.Fields(strings.Join(z.device.Lines, " ")) {
			if dev, err := remap.ParseDev(strings.TrimPrefix(word, "meta_device:")); err == nil {
				names[dev] = fmt.Sprintf("disk%d-%d", dev.Major, dev.Minor)
			}
		}
	}
	return names
}

// zoo is a machine that has all tables of one file of vectors, read by a Reader.
func zoo(t testing.TB, path string) *layout.Snapshot {
	t.Helper()
	m := sysblocktest.New(t)
	tables := zooTables(t, path)
	lower := devices(tables)
	for dev, name := range lower {
		m.OnBus(name, dev.String(), "scsi", 1<<40)
	}
	k := dmtest.New()
	for i := range tables {
		z := &tables[i]
		name := fmt.Sprintf("dm-%d", i)
		var slaves []string
		z.device.Deps = []remap.Dev{}
		for dev := range devices(tables[i : i+1]) {
			z.device.Deps, slaves = append(z.device.Deps, dev), append(slaves, lower[dev])
		}
		m.Mapped(name, fmt.Sprintf("250:%d", i), name, z.size, slaves...)
		d := mapped(m.Dev(name), name, "", z.device.Lines...)
		d.Status, d.Deps = z.device.Status, z.device.Deps
		k.Set(d)
	}
	s, err := layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(k)}).Read(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for i := range s.Nodes {
		if dm := s.Nodes[i].DM; dm != nil {
			attach(t, dm, &tables[dm.Dev.Minor])
		}
	}
	return s
}

func attach(t testing.TB, table *dmtable.Table, z *zooTable) {
	t.Helper()
	for i, text := range z.read {
		if err := json.Unmarshal([]byte(text), &table.Targets[i]); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func zooFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../dmtable/testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// A capture of any machine resolves like it, and says the same of it, whatever
// the operator trusts.
func TestCaptureOfEveryLayer(t *testing.T) {
	trusts := []layout.Trust{{}, {Verity: true, Integrity: true}}
	kinds := make(map[remap.Kind]bool)
	for _, path := range zooFiles(t) {
		live := zoo(t, path)
		back := recaptured(t, live)
		for _, trust := range trusts {
			a, b := stackOf(t, live.Trusting(trust)), stackOf(t, back.Trusting(trust))
			sameStacks(t, filepath.Base(path), a, b, kinds)
		}
	}
	for _, kind := range []remap.Kind{remap.Data, remap.Zero, remap.Error, remap.Opaque, remap.Replica, remap.Cipher} {
		if !kinds[kind] {
			t.Errorf("nothing was %s", kind)
		}
	}
}

// recaptured is a snapshot that was written and loaded, twice with the same
// result.
func recaptured(t testing.TB, s *layout.Snapshot) *layout.Snapshot {
	t.Helper()
	var first, second bytes.Buffer
	if err := s.Write(&first); err != nil {
		t.Fatal(err)
	}
	back, err := layout.Load(bytes.NewReader(first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Write(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("stored again, it differs: %v\n%s\n%s", err, first.Bytes(), second.Bytes())
	}
	return back
}

func sameStacks(t *testing.T, what string, a, b *remap.Stack, kinds map[remap.Kind]bool) {
	t.Helper()
	for _, n := range a.Nodes() {
		m := b.Node(n.Dev)
		if !slices.Equal(n.Notes, m.Notes) || n.CopiesOnWrite != m.CopiesOnWrite || n.Locked != m.Locked || n.Transition != m.Transition ||
			n.Owner != m.Owner || n.Label != m.Label || n.Mutable != m.Mutable {
			t.Errorf("%s: live %+v\ncaptured %+v", what, n, m)
		}
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			r := remap.Range{Dev: n.Dev, Len: min(n.Size, 1<<16)}
			live, back := spell(t, a, op, r, kinds), spell(t, b, op, r, kinds)
			if !slices.Equal(live, back) {
				t.Errorf("%s %s %s: live %q\ncaptured %q", what, op, n.Name, live, back)
			}
		}
	}
}

// spell spells out where a range lives, and notes the kinds.
func spell(t *testing.T, st *remap.Stack, op remap.Op, r remap.Range, kinds map[remap.Kind]bool) (got []string) {
	t.Helper()
	for e, err := range st.Resolve(op, r) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[e.Kind] = true
		cipher := ""
		if e.Cipher != nil {
			cipher = fmt.Sprintf("%+v", *e.Cipher)
		}
		got = append(got, fmt.Sprintf("%d +%d %s %v %v %s %d %s %v", e.Start, e.Len, e.Kind, e.Leg, e.Legs, cipher, e.IV, e.Reason, e.Via.Names()))
	}
	return got
}

// The same for arrays of every level, snapshots and thin volumes as they are
// read.
func TestCaptureOfWhatIsRead(t *testing.T) {
	snap := newSnapRig(t)
	setDisk(t, snap.Machine, "dm-1", exceptions(cowSize, entries(5, 1)...))
	thin := newThinRig(t)
	broken := newThinRig(t)
	broken.setPool("Fail")
	suspended := newSnapRig(t)
	suspended.setSnap("Invalid")
	for what, s := range map[string]*layout.Snapshot{
		"snapshot": snap.read(t), "thin": thin.read(t), "a pool that has failed": broken.read(t), "a snapshot that has": suspended.read(t),
		"arrays": arrays(t),
	} {
		sameStacks(t, what, stackOf(t, s), stackOf(t, recaptured(t, s)), make(map[remap.Kind]bool))
	}
}

// arrays is a machine with an array of each level.
func arrays(t testing.TB) *layout.Snapshot {
	t.Helper()
	m := sysblocktest.New(t)
	var disks []string
	for i := range 4 {
		name := fmt.Sprintf("sd%c", 'a'+i)
		disks = append(disks, name)
		m.OnBus(name, fmt.Sprintf("8:%d", i), "scsi", 1<<20)
	}
	layouts := map[string]string{"raid10": "258", "raid5": "2", "raid6": "2"}
	for i, level := range []string{"raid0", "linear", "raid1", "raid4", "raid5", "raid6", "raid10"} {
		a := mdraidtest.New(level, 4, 8192)
		a.Attrs["layout"] = layouts[level]
		if layouts[level] == "" {
			a.Attrs["layout"] = "0"
		}
		size := map[string]int64{"raid0": 32768, "linear": 32768, "raid1": 8192, "raid4": 24576, "raid5": 24576}[level]
		if size == 0 {
			size = 16384
		}
		name := fmt.Sprintf("md%d", i)
		m.Stacked(name, fmt.Sprintf("9:%d", i), size, disks...)
		setArray(m, name, a, disks...)
	}
	s, err := layout.NewReader(layout.Options{FS: m.FS()}).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Checks are left out for whom says so, and for nobody else; neither is
// captured.
func TestTrust(t *testing.T) {
	m := sysblocktest.New(t)
	m.OnBus("sda", "8:0", "scsi", 1<<20)
	m.OnBus("sdb", "8:16", "scsi", 1<<20)
	m.Mapped("dm-0", "253:0", "verity", 800, "sda", "sdb")
	m.Mapped("dm-1", "253:1", "integrity", 800, "sda", "sdb")
	verity := mapped(m.Dev("dm-0"), "verity", "", "0 800 verity 1 8:0 8:16 4096 4096 100 1 sha256 00112233 -")
	verity.Status = []string{"V"}
	integrity := mapped(m.Dev("dm-1"), "integrity", "", "0 800 integrity 8:16 0 4 D 3 meta_device:8:0 block_size:512 internal_hash:crc32c")
	integrity.Deps = []remap.Dev{m.Dev("sda"), m.Dev("sdb")}
	dm := dmtable.New(dmtest.New(verity, integrity))
	read := func(trust layout.Trust) *layout.Snapshot {
		s, err := layout.NewReader(layout.Options{FS: m.FS(), DM: dm, Trust: trust}).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kinds := func(s *layout.Snapshot) (kinds [2]remap.Kind) {
		st := stackOf(t, s)
		for i, name := range []string{"dm-0", "dm-1"} {
			for e, err := range st.Resolve(remap.Read, remap.Range{Dev: m.Dev(name), Len: 8}) {
				if err != nil {
					t.Fatal(err)
				}
				kinds[i] = e.Kind
			}
		}
		return kinds
	}
	for trust, want := range map[layout.Trust][2]remap.Kind{
		{}:                              {remap.Opaque, remap.Opaque},
		{Verity: true}:                  {remap.Data, remap.Opaque},
		{Integrity: true}:               {remap.Opaque, remap.Data},
		{Verity: true, Integrity: true}: {remap.Data, remap.Data},
	} {
		s := read(trust)
		for what, got := range map[string][2]remap.Kind{
			"read": kinds(s), "asked later": kinds(read(layout.Trust{}).Trusting(trust)), "loaded": kinds(recaptured(t, s).Trusting(trust)),
		} {
			if got != want {
				t.Errorf("%+v, %s: %v, want %v", trust, what, got, want)
			}
		}
		if got := kinds(recaptured(t, s)); got != [2]remap.Kind{remap.Opaque, remap.Opaque} {
			t.Errorf("%+v is stored: %v", trust, got)
		}
		s.Trusting(layout.Trust{})
		if kinds(s) != want {
			t.Errorf("%+v: the snapshot itself has changed", trust)
		}
	}
}

// Changes of the status lines of mirrors and arrays count where they matter.
func TestChangesOfStatus(t *testing.T) {
	for _, test := range []struct {
		line   string
		status map[string]string // with what it is to be said
		first  string
	}{
		{"0 100000 mirror core 2 1024 nosync 2 8:1 2048 8:2 4096", map[string]string{
			"2 8:1 8:2 97/98 1 AA 1 core": "", "2 8:1 8:2 98/98 1 AA 1 core": "layout changed", "2 8:1 8:2 5/98 1 AD 1 core": "layout changed", "?": "layout changed",
		}, "2 8:1 8:2 5/98 1 AA 1 core"},
		{"0 4096 raid raid1 3 0 region_size 1024 2 - 8:1 - 8:2", map[string]string{
			"raid1 2 AA 5000/8192 recover 0 0 -": "layout changed", "raid1 2 AA 8192/8192 idle 7 0 -": "", "raid1 2 AD 8192/8192 idle 0 0 -": "layout changed",
			"raid1 2 Aa 8192/8192 idle 0 0 -": "layout changed", "": "layout changed",
		}, "raid1 2 AA 8192/8192 idle 0 0 -"},
	} {
		m := sysblocktest.New(t)
		m.OnBus("sda", "8:1", "scsi", 1<<20)
		m.OnBus("sdb", "8:2", "scsi", 1<<20)
		size, _ := strconv.ParseInt(strings.Fields(test.line)[1], 10, 64)
		m.Mapped("dm-0", "253:0", "array", size, "sda", "sdb")
		r := &rig{Machine: m, kernel: dmtest.New()}
		show := func(status string) {
			d := mapped(m.Dev("dm-0"), "array", "", test.line)
			d.Status = []string{status}
			r.kernel.Set(d)
		}
		show(test.first)
		r.reader = layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(r.kernel)})
		st := stackOf(t, r.read(t))
		for _, status := range slices.Sorted(maps.Keys(test.status)) {
			show(status)
			r.changed(t, st, test.status[status], "array")
		}
	}
}

// Recovery that goes on is no change, a member that fails is one.
func TestChangesOfArray(t *testing.T) {
	r := newRig(t)
	a := mdraidtest.New("raid1", 2, 4096)
	a.Attrs["sync_action"], a.Attrs["degraded"] = "recover", "1"
	a.Members[1].Attrs["state"], a.Members[1].Attrs["recovery_start"] = "spare", "0"
	setArray(r.Machine, "md0", a, "nvme0n1", "nvme1n1")
	st := stackOf(t, r.read(t, "md0"))
	for _, test := range []struct{ attr, value, want string }{
		{"md/dev-nvme1n1/recovery_start", "2048", ""}, {"md/array_state", "active", ""}, {"md/array_state", "clean", ""},
		{"md/dev-nvme1n1/state", "in_sync", "layout changed"}, {"md/dev-nvme1n1/state", "spare", ""},
		{"md/dev-nvme0n1/state", "faulty", "layout changed"}, {"md/dev-nvme0n1/state", "in_sync", ""},
		{"md/dev-nvme0n1/bad_blocks", "8 8", "layout changed"}, {"md/dev-nvme0n1/bad_blocks", "", ""},
		{"md/array_state", "suspended", "layout changed"}, {"md/array_state", "clean", ""},
		{"md/level", "raid10", "layout changed"},
	} {
		r.Set("md0", test.attr, test.value)
		r.changed(t, st, test.want, "md0")
	}
}
