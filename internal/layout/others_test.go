package layout_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc64"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

const backingUUID = "6b1a9d4c-11aa-4b22-8c33-0123456789ab"

// newBcache makes bcache0 with a cache on sdc, its data from sector 2048 of sdb
// on.
func newBcache(t *testing.T) *sysblocktest.Machine {
	m := sysblocktest.New(t)
	addBcache(t, m)
	return m
}

func addBcache(t *testing.T, m *sysblocktest.Machine) {
	t.Helper()
	m.Disk("sdb", "8:16", 6144)
	m.Disk("sdc", "8:32", 4096)
	m.Stacked("bcache0", "251:0", 4096, "sdb", "sdc")
	for attr, text := range map[string]string{
		"state": "clean", "cache_mode": "[writethrough] writeback writearound none", "dirty_data": "0.0k", "running": "1", "io_disable": "0",
		"io_errors": "0", "backing_dev_name": "sdb", "backing_dev_uuid": backingUUID, "cache": "",
	} {
		m.Set("sdb", "bcache/"+attr, text)
	}
	m.Link("sys/devices/virtual/block/bcache0/bcache", "sys/devices/virtual/block/sdb/bcache")
	writeDisk(t, m, "sdb", 6144, 4096, bcacheSuper())
}

// writeDisk makes the node of a disk: a file with something at some byte.
func writeDisk(t *testing.T, m *sysblocktest.Machine, name string, sectors int64, at int, content []byte) {
	t.Helper()
	disk := make([]byte, sectors*512)
	copy(disk[at:], content)
	if err := os.WriteFile(filepath.Join(string(m.FS()), "dev", name), disk, 0o600); err != nil {
		t.Fatal(err)
	}
}

// bcacheSuper is a superblock of version 4 (drivers/md/bcache/bcache_ondisk.h).
func bcacheSuper() []byte {
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint64(b[8:], 8)
	binary.LittleEndian.PutUint64(b[16:], 4)
	copy(b[24:], "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")
	uuid, _ := hex.DecodeString(strings.ReplaceAll(backingUUID, "-", ""))
	copy(b[40:], uuid)
	binary.LittleEndian.PutUint64(b[184:], 2048)
	binary.LittleEndian.PutUint64(b, crcHighFirst(b[8:208]))
	return b
}

// crcHighFirst turns the checksum of the standard library around, which takes
// the lowest bit first.
func crcHighFirst(b []byte) uint64 {
	turned := make([]byte, len(b))
	for i, c := range b {
		turned[i] = bits.Reverse8(c)
	}
	return bits.Reverse64(crc64.Checksum(turned, crc64.MakeTable(bits.Reverse64(0x42f0e1eba9ea3693))))
}

func read(t *testing.T, m *sysblocktest.Machine, r *layout.Reader, name string) *layout.Snapshot {
	t.Helper()
	s, err := r.Read(t.Context(), m.Dev(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stored is a snapshot that was written and loaded again.
func stored(t *testing.T, s *layout.Snapshot) *layout.Snapshot {
	t.Helper()
	var text bytes.Buffer
	if err := s.Write(&text); err != nil {
		t.Fatal(err)
	}
	loaded, err := layout.Load(&text)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestBcache(t *testing.T) {
	m := newBcache(t)
	r := layout.NewReader(layout.Options{FS: m.FS()})
	s := read(t, m, r, "bcache0")
	for _, s := range []*layout.Snapshot{s, stored(t, s)} {
		st := stackOf(t, s)
		if got, want := resolve(t, st, m.Dev("bcache0"), remap.Read), []string{"0 +4096 data 8:16:2048  [bcache]"}; !slices.Equal(got, want) {
			t.Errorf("read: %q", got)
		}
		if got, want := resolve(t, st, m.Dev("bcache0"), remap.Write), []string{"0 +4096 opaque 251:0:0 layer:bcache-write [bcache]"}; !slices.Equal(got, want) {
			t.Errorf("write: %q", got)
		}
	}
	st := stackOf(t, s)
	changes, err := r.Changes(t.Context(), st)
	if err != nil || len(changes) != 0 {
		t.Errorf("nothing has changed: %v, %v", changes, err)
	}
	m.Set("sdb", "bcache/state", "dirty")
	changes, err = r.Changes(t.Context(), st)
	if err != nil || len(changes) != 1 || changes[0].What != "layout changed" {
		t.Errorf("dirty: %v, %v", changes, err)
	}
	if got := resolve(t, stackOf(t, read(t, m, r, "bcache0")), m.Dev("bcache0"), remap.Read); !strings.Contains(got[0], "layer:bcache-dirty") {
		t.Errorf("dirty: %q", got)
	}
	m.Set("sdb", "bcache/state", "no cache")
	if st = stackOf(t, read(t, m, r, "bcache0")); st.Node(m.Dev("bcache0")).Transition == "" {
		t.Error("a cache that is being detached is no transition")
	}
}

// TestBcacheWithoutSuper: what is not there, or is another one's, is not read
// below.
func TestBcacheWithoutSuper(t *testing.T) {
	for name, content := range map[string][]byte{
		"nothing":       nil,
		"a torn one":    bcacheSuper()[:4000][8:],
		"a new version": func() []byte { b := bcacheSuper(); b[16] = 7; return b }(),
	} {
		m := newBcache(t)
		writeDisk(t, m, "sdb", 6144, 4096, content)
		s := read(t, m, layout.NewReader(layout.Options{FS: m.FS()}), "bcache0")
		st := stackOf(t, s)
		notes := st.Node(m.Dev("bcache0")).Notes
		if got := resolve(t, st, m.Dev("bcache0"), remap.Read); !strings.Contains(got[0], "layer:bcache-unread") || len(notes) != 2 {
			t.Errorf("%s: %q, %q", name, got, notes)
		}
	}
}

// TestOtherDevices: devices that are known by their names only.
func TestOtherDevices(t *testing.T) {
	m := sysblocktest.New(t)
	for i, name := range []string{"sda", "nbd0", "zram0", "ublkb0", "rbd0", "pmem0", "pmem0s", "ram0", "drbd1", "zloop0", "pktcdvd0", "loop7"} {
		m.Disk(name, remap.Dev{Major: 200, Minor: uint32(i)}.String(), 2048)
	}
	m.Stacked("nbd1", "201:0", 2048, "sda") // which none of these drivers does
	m.Stacked("drbd2", "201:1", 2048, "sda")
	s, err := layout.NewReader(layout.Options{FS: m.FS()}).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st := stackOf(t, stored(t, s))
	for name, want := range map[string]string{
		"nbd0": "", "zram0": "", "ublkb0": "", "rbd0": "", "pmem0": "", "pmem0s": "", "ram0": "", "sda": "",
		"drbd1": "layer:drbd", "drbd2": "layer:drbd", "zloop0": "layer:zloop", "pktcdvd0": "layer:pktcdvd", "loop7": "layer:loop", "nbd1": "layer:nbd",
	} {
		n := st.Node(m.Dev(name))
		if n.Leaf != nil != (want == "") || n.Leaf != nil && (n.Leaf.Driver != "" || n.Leaf.Identity != "") {
			t.Errorf("%s: leaf %+v", name, n.Leaf)
		}
		if said := len(n.Notes) == 1; said != (strings.Contains("nbd0 nbd1 zram0 ublkb0 rbd0 pmem0 pmem0s ram0 drbd1 drbd2", name)) {
			t.Errorf("%s: notes %q", name, n.Notes)
		}
		if n.Layer == nil {
			continue
		}
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			if p := n.Layer.Map(op, 0, 8); p.Kind != remap.Opaque || string(p.Reason) != want {
				t.Errorf("%s: %v %+v", name, op, p)
			}
		}
	}
}

// TestLoop: the file of a loop device is told, stored, and compared.
func TestLoop(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("loop0", "7:0", 2048)
	m.Set("loop0", "loop/backing_file", "/srv/disk.img")
	m.Set("loop0", "loop/offset", "1048576")
	m.Set("loop0", "loop/sizelimit", "0")
	r := layout.NewReader(layout.Options{FS: m.FS()})
	s := read(t, m, r, "loop0")
	for attr, moved := range map[string][2]string{
		"loop/offset": {"1048576", "0"}, "loop/sizelimit": {"0", "4096"}, "loop/backing_file": {"/srv/disk.img", "/srv/other.img"},
	} {
		for i, value := range []string{moved[1], moved[0]} {
			m.Set("loop0", attr, value)
			changes, err := r.Changes(t.Context(), stackOf(t, s))
			if err != nil || len(remap.Moved(changes)) != 1-i {
				t.Errorf("%s %s: %v, %v", attr, value, changes, err)
			}
		}
	}
	for _, s := range []*layout.Snapshot{s, stored(t, s)} {
		n := stackOf(t, s).Node(m.Dev("loop0"))
		if want := (remap.Storage{Name: "/srv/disk.img", Start: 2048}); n.Storage == nil || *n.Storage != want {
			t.Errorf("storage %+v", n.Storage)
		}
		if len(n.Notes) != 1 || !strings.Contains(n.Notes[0], `"/srv/disk.img" from byte 1048576`) {
			t.Errorf("notes %q", n.Notes)
		}
		if p := n.Layer.Map(remap.Read, 0, 8); p.Kind != remap.Opaque || p.Reason != "layer:loop" {
			t.Errorf("%+v", p)
		}
	}
}
